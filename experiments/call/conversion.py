"""How much of a decoded frame's error is the conversion between RGB and YUV, not the codec.

python experiments/call/conversion.py [--clips FOLDER] [--x1 NAME=FILE ...] [--x2 ...] codes
the test clips with the project's conversion (kd_lightning/yuv.py) and with FFmpeg's swscale as PyAV
calls it without options, and scores as the benchmark does. Behind swscale every method is scored a
second time with the light given back that the conversion takes from validation photographs without
any codec: one number, which a network trained behind that conversion learns as its last bias.
Writes the PSNR-Y of every method, and the mean error of luma, to conversion.json here.
"""

import argparse
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning import quality
from kd_lightning.benchmark.__main__ import pairs
from kd_lightning.benchmark.calls.__main__ import restored
from kd_lightning.benchmark.calls.measure import (
    CRFS,
    FIRST,
    METRICS,
    STEP,
    Method,
    baseline,
    points,
    read_clips,
)
from kd_lightning.benchmark.quality import pair, pictures, read_pair, to_tensor
from kd_lightning.data.degradations.codec import pyav

CLIPS = ("Zhling", "webcam_help")


def by_swscale(frames: list[np.ndarray], options: Mapping[str, str]) -> list[np.ndarray]:
    """`frames`, uint8 (H,W,3), through libx264 and back by PyAV's default conversions."""
    av = pyav()
    writer, reader = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    writer.height, writer.width = frames[0].shape[:2]
    writer.pix_fmt, writer.time_base, writer.options = "yuv420p", Fraction(1, 30), dict(options)
    decoded: list[Any] = []
    for number, frame in enumerate(frames):
        image = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
        image.pts = number
        for packet in writer.encode(image):
            decoded += reader.decode(packet)
    for packet in writer.encode(None):
        decoded += reader.decode(packet)
    decoded += reader.decode(None)
    return [image.to_ndarray(format="rgb24") for image in decoded]


def light_taken(folder: Path) -> float:
    """What swscale's way to yuv420p and back takes from photographs in the mean, of [0, 1]."""
    taken = []
    for file in pictures(folder):
        photo = read_pair(file, 2)[1]
        image = pyav().VideoFrame.from_ndarray(photo, format="rgb24").reformat(format="yuv420p")
        taken.append(float(photo.mean() - image.to_ndarray(format="rgb24").mean()) / 255)
    return sum(taken) / len(taken)


def lightened(method: Method, light: float) -> Method:
    return lambda frame: (method(frame) + light).clamp(0, 1)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=Path("../shared/data/video"))
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos/valid_HR"))
    for scale in (1, 2):
        parser.add_argument(f"--x{scale}", nargs="*", default=[], metavar="NAME=FILE")
    options = parser.parse_args()
    light = light_taken(options.photos)
    rows = []
    for name, clip in read_clips(options.clips, CLIPS).items():
        for scale in (1, 2):
            files = pairs(getattr(options, f"x{scale}"), "")
            methods = {"baseline": baseline(scale)}
            methods |= {label: restored(path, scale) for label, path in files.items()}
            given_back = {f"{k}, light given back": lightened(m, light) for k, m in methods.items()}
            small, large = zip(*(pair(frame, scale) for frame in clip.frames), strict=True)
            for crf in CRFS:
                point = next(p for p in points() if p.name == f"h264 crf {crf}")
                ours = point.code(small, clip.rate)[0]
                theirs = by_swscale(list(small), point.options)
                for way, frames, asked in (
                    ("ours", ours, methods),
                    ("swscale", theirs, methods | given_back),
                ):
                    row = {"clip": name, "crf": crf, "scale": scale, "conversion": way}
                    row |= scores(frames, small, large, scale, asked)
                    rows.append(row)
                    print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()})
    target = Path(__file__).parent / "conversion.json"
    target.write_text(
        json.dumps({"light_taken_levels": 255 * light, "rows": rows}, indent=1) + "\n"
    )


def scores(
    frames: list[np.ndarray],
    small: tuple[np.ndarray, ...],
    large: tuple[np.ndarray, ...],
    scale: int,
    methods: dict[str, Method],
) -> dict[str, float]:
    """Mean PSNR-Y of each method, in dB, and `luma_error` of the decoded frames, in levels."""
    scored = range(FIRST, len(frames), STEP)
    found = dict.fromkeys(["luma_error", *methods], 0.0)
    for i in scored:
        error = quality.luma(to_tensor(frames[i]) - to_tensor(small[i])) - 16 / 255
        found["luma_error"] += 255 * float(error.mean()) / len(scored)
        for name, method in methods.items():
            out, truth = quality.to_8bit(method(frames[i])), to_tensor(large[i])
            found[name] += float(METRICS["psnr_y"].function(out, truth, scale)) / len(scored)
    return found


if __name__ == "__main__":
    main()
