"""Shrink a video clip by 2, restore it with the shipped students, and measure quality and time.

python experiments/video.py CLIP [CLIP ...] writes experiments/video/<clip>.json, prints a table.
Quality by docs/protocol.md, each frame as a picture; the time of a frame from 8 bits to 8 bits is
the median over the clip, after two frames.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch

from kd_lightning import quality
from kd_lightning.benchmark.__main__ import int8_exports, sample_photos
from kd_lightning.benchmark.machine import describe
from kd_lightning.benchmark.quality import bicubic, pair, to_tensor
from kd_lightning.deploy.backends import Runner, open_weights
from kd_lightning.deploy.enhance import enhance_frames
from kd_lightning.models.pretrained import shipped

WARM_UP = 2
Frames = list[np.ndarray]


def main() -> None:
    torch.set_grad_enabled(False)
    with TemporaryDirectory() as scratch:
        photos = sample_photos(Path(scratch))
        files = shipped()
        quantized = int8_exports(files, photos, Path(scratch)) if photos else {}
        runners = {name: open_weights(path, device="cpu") for name, path in files.items()}
        runners |= {f"{n} int8": open_weights(p, device="cpu") for n, p in quantized.items()}
        for clip in map(Path, sys.argv[1:]):
            result = measure(clip, runners)
            target = Path(__file__).parent / "video" / f"{clip.stem}.json"
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(result, indent=1) + "\n")
            print(table(result), flush=True)


def measure(clip: Path, runners: dict[str, Runner]) -> dict[str, Any]:
    """Every method on one clip."""
    lr, hr = (list(frames) for frames in zip(*(pair(f, 2) for f in decoded(clip)), strict=True))
    height, width = hr[0].shape[:2]
    interpolate = bicubic(2)
    rows = {"bicubic": scores([interpolate(frame, "") for frame in lr], hr)}
    for name, runner in runners.items():
        sr, seconds = timed(lambda runner=runner: enhance_frames(runner, lr))
        ms = 1000 * statistics.median(seconds[WARM_UP:])
        rows[name] = {**scores(sr, hr), "ms": ms, "fps": 1000 / ms}
    facts = {"clip": clip.name, "frames": len(hr), "output": [height, width]}
    return {**facts, "machine": describe(), "rows": rows}


def decoded(clip: Path) -> Iterator[np.ndarray]:
    """(H,W,3) uint8 RGB frames."""
    video = cv2.VideoCapture(str(clip))
    while (read := video.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


def timed(run: Callable[[], Iterator[np.ndarray]]) -> tuple[Frames, list[float]]:
    outputs, seconds = [], []
    start = time.perf_counter()
    for frame in run():
        seconds.append(time.perf_counter() - start)
        outputs.append(frame.copy())
        start = time.perf_counter()
    return outputs, seconds


def scores(sr: list[Any], hr: Frames) -> dict[str, float]:
    """Means over the frames."""
    each = [quality.scores(to_tensor(a), to_tensor(b), 2) for a, b in zip(sr, hr, strict=True)]
    return {name: sum(float(frame[name]) for frame in each) / len(each) for name in each[0]}


def table(result: dict[str, Any]) -> str:
    height, width = result["output"]
    lines = [f"{result['clip']}: {result['frames']} frames, {width}x{height} out, 2x", ""]
    lines += ["| | RGB-SSIM | PSNR-Y | ms a frame | frames/s |", "|---|---|---|---|---|"]
    for name, row in result["rows"].items():
        speed = f"{row['ms']:.0f} | {row['fps']:.1f}" if "ms" in row else " | "
        lines.append(f"| {name} | {row['ssim_rgb']:.4f} | {row['psnr_y']:.2f} dB | {speed} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
