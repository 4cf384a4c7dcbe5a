"""Real clips through files, and their frames through arrays: the PSNR of both.

python experiments/real_clips.py CLIP ...   writes experiments/video/real_clips.json, and its table
                                            into README.md beside it

Each clip is shrunk by the scale and coded, without loss (FFV1) or as in a call (H.264, CRF 28).
That file is enhanced into a file without loss, as kd-enhance does, and its decoded frames are
enhanced as arrays; both are compared with the clip (PSNR-Y, docs/protocol.md, mean of the frames).
A file of H.264 is 4:2:0, and so is what is made of it; "arrays, stored alike" are the arrays in
4:2:0 too, which moves PSNR-Y by up to 0.1 dB where saturated colours are clipped. At the same size
the file keeps the chroma that was decoded, and colours that RGB would clip.
"""

import argparse
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from kd_lightning import quality
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.deploy.enhance import enhance_frames
from kd_lightning.models.pretrained import find_weights
from kd_lightning.video.enhancing import enhanced, prepare
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer
from kd_lightning.yuv import Yuv, rgb_to_yuv, yuv_to_rgb

OUTPUT = Path(__file__).parent / "video" / "real_clips.json"
STUDENTS, FRAMES = {1: "call_tiny_x1", 2: "call_tiny_x2"}, 2  # by scale
CODINGS = {"ffv1": Encoding("ffv1"), "h264 crf 28": Encoding("h264", 28)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, nargs="+")
    options = parser.parse_args()
    runners = {n: open_weights(find_weights(name), device="cpu") for n, name in STUDENTS.items()}
    rows = []
    with TemporaryDirectory() as scratch:
        for clip in options.clips:
            frames = read(clip, FRAMES)
            for scale, runner in runners.items():
                for coding in CODINGS:
                    found = compare(frames, coding, runner, Path(scratch))
                    means = {way: float(np.mean(values)) for way, values in found.items()}
                    row = {"clip": clip.name, "scale": scale, "coded": coding, **means}
                    rows.append(row | {"difference": means["file"] - means["arrays, stored alike"]})
                    print(rows[-1], flush=True)
    students = {n: f"{STUDENTS[n]}, {runner.name}" for n, runner in runners.items()}
    result = {"students": students, "frames": FRAMES, "psnr_y": rows}
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n")
    readme = OUTPUT.with_name("README.md")
    readme.write_text(with_table(readme.read_text(), rows))


def with_table(text: str, rows: Sequence[dict[str, Any]]) -> str:
    """The page with the table of these rows between its two marks."""
    begin, end = "<!-- real clips -->\n", "<!-- end -->"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}{table(rows)}{end}{after}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    heads = "clip", "scale", "coded", "file", "arrays", "arrays, stored alike", "difference, dB"
    lines = [f"| {' | '.join(heads)} |", "|" + len(heads) * "---|"]
    for row in rows:
        psnr = " | ".join(f"{row[way]:.2f}" for way in heads[3:6])
        cells = f"{row['clip']} | {row['scale']} | {row['coded']} | {psnr}"
        lines.append(f"| {cells} | {row['difference']:+.4f} |")
    return "\n".join(lines) + "\n"


def read(clip: Path, count: int) -> list[Frame]:
    """The first frames; of a raw .yuv (8-bit 4:2:0) the name says the size, as WIDTHxHEIGHT."""
    if clip.suffix != ".yuv":
        with Reader(clip) as reader:
            return list(islice(reader, count))
    width, height = map(int, re.findall(r"(\d+)x(\d+)", clip.name)[0])
    raw = np.fromfile(clip, np.uint8).reshape(-1, height * width * 3 // 2)[:count]
    half = height // 2, width // 2
    frames = []
    for number, one in enumerate(raw):
        y, u, v = np.split(one, [height * width, height * width * 5 // 4])
        planes = Yuv(y.reshape(height, width), u.reshape(half), v.reshape(half))
        frames.append(Frame(planes, number, Fraction(1, 30), color=Color("bt601")))
    return frames


def compare(
    frames: Sequence[Frame], coding: str, runner: Runner, folder: Path
) -> dict[str, list[float]]:
    """PSNR-Y of each frame, by file and by arrays."""
    small, large = folder / "small.mkv", folder / "large.mkv"
    height, width = frames[0].size
    size = width // runner.scale, height // runner.scale
    with Writer(small, CODINGS[coding]) as writer:
        for frame in frames:
            image = Image.fromarray(frame.pixels).resize(size, Image.Resampling.BICUBIC)
            writer.write(frame.with_image(np.asarray(image)))
    with Reader(small) as reader, Writer(large, Encoding("ffv1"), reader) as writer:
        process(
            reader,
            lambda images: enhanced(runner, images),
            writer,
            prepare=lambda frame: prepare(runner, frame),
        )
    found: dict[str, list[float]] = {"file": [], "arrays": [], "arrays, stored alike": []}
    with Reader(small) as reader, Reader(large) as result:
        arrays = enhance_frames(runner, [frame.pixels for frame in reader])
        for by_array, by_file, truth in zip(arrays, result, frames, strict=True):
            assert by_file.size == by_array.shape[:2]
            found["file"].append(luma_psnr(by_file.pixels, truth.pixels))
            found["arrays"].append(luma_psnr(by_array, truth.pixels))
            if isinstance(by_file.image, Yuv):
                color = by_file.color.matrix, by_file.color.full_range
                by_array = yuv_to_rgb(rgb_to_yuv(by_array, *color), *color)
            found["arrays, stored alike"].append(luma_psnr(by_array, truth.pixels))
    return found


def luma_psnr(ours: Any, truth: Any) -> float:
    one, other = (torch.tensor(i).permute(2, 0, 1)[None].float() / 255 for i in (ours, truth))
    return float(quality.scores(one, other, 2)["psnr_y"])


if __name__ == "__main__":
    main()
