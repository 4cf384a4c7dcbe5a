"""How much of a decoded frame's error is the conversion between RGB and YUV, not the codec.

python experiments/call/conversion.py [--clips FOLDER] codes the test clips once with the project's
conversion (kd_lightning/yuv.py), once with FFmpeg's swscale as PyAV calls it without options, and
writes the PSNR-Y of the baseline and the mean error of luma to conversion.json here.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning import quality
from kd_lightning.benchmark.calls.measure import FIRST, METRICS, baseline, points, read_clips
from kd_lightning.benchmark.quality import pair, to_tensor
from kd_lightning.data.degradations.codec import pyav

FRAMES = 12  # of each clip
POINTS = ("h264 crf 18", "h264 crf 28", "h264 crf 38")


def by_swscale(frames: list[np.ndarray], options: dict[str, str]) -> list[np.ndarray]:
    """`frames`, uint8 (H,W,3), through libx264 and back by PyAV's default conversions."""
    av = pyav()
    writer, reader = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    writer.height, writer.width = frames[0].shape[:2]
    writer.pix_fmt, writer.time_base, writer.options = "yuv420p", Fraction(1, 30), options
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


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=Path("../shared/data/video"))
    options = parser.parse_args()
    rows = []
    for name, clip in read_clips(options.clips, ["Zhling", "webcam_help"]).items():
        for point in (p for p in points() if p.name in POINTS):
            for scale in (2, 1):
                pairs = [pair(frame, scale) for frame in clip.frames[:FRAMES]]
                small, truth = [lr for lr, _ in pairs], to_tensor(pairs[FIRST][1])
                ours, _ = point.code(small, clip.rate)
                row: dict[str, Any] = {"clip": name, "point": point.name, "scale": scale}
                ways = {"ours": ours, "swscale": by_swscale(small, dict(point.options))}
                for way, frames in ways.items():
                    out = quality.to_8bit(baseline(scale)(frames[FIRST]))
                    error = (
                        quality.luma(to_tensor(frames[FIRST]) - to_tensor(small[FIRST])) - 16 / 255
                    )
                    row[f"{way}_psnr_y"] = float(METRICS["psnr_y"].function(out, truth, scale))
                    row[f"{way}_luma_error"] = 255 * float(error.mean())
                rows.append(row)
                print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()})
    target = Path(__file__).parent / "conversion.json"
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
