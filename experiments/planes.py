"""A frame of a video to planes of luma and chroma: from the network, or by way of an RGB frame.

python experiments/planes.py      writes experiments/video/planes.json

Noise of 640x360 to a 720p frame, in OpenVINO, for students that give planes. Milliseconds that
pass, and those of all cores together, which count in a video, where encoding needs the cores too.
The best of ROUNDS rounds, in turns.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kd_lightning.benchmark.machine import describe, others_seconds
from kd_lightning.deploy.backends import open_weights
from kd_lightning.models.pretrained import find_weights
from kd_lightning.yuv import Matrix, Plane, rgb_to_yuv

OUTPUT = Path(__file__).parent / "video" / "planes.json"
STUDENTS = "student_fast", "student_tiny", "student_mini", "student_micro", "call_mini_x2"
HEIGHT, WIDTH = 360, 640
MATRIX: Matrix = "bt709"
ROUNDS, FRAMES = 6, 10


def main() -> None:
    torch.set_grad_enabled(False)
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    start, others = time.perf_counter(), others_seconds()
    rows = {name: measured(ways(name, frame)) for name in STUDENTS}
    others = max(0.0, (others_seconds() - others) / (time.perf_counter() - start))
    result = {"ms": rows, "others": others, "machine": describe()}
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


def ways(name: str, frame: Plane) -> dict[str, Callable[[], object]]:
    runner = open_weights(find_weights(name), "openvino", "cpu")
    planes, to_rgb, image = runner.planes, runner.frame, torch.from_numpy(frame)[None]
    assert planes and to_rgb
    return {
        "RGB frame": lambda: to_rgb(image),
        "RGB frame, then converted": lambda: rgb_to_yuv(to_rgb(image)[0].numpy(), MATRIX, False),
        "planes": lambda: planes(frame, MATRIX, False),
    }


def measured(ways: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    best: dict[str, dict[str, float]] = {}
    for way in ways.values():
        for _ in range(3):  # compile
            way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start, before = time.perf_counter(), os.times()
            for _ in range(FRAMES):
                way()
            seconds, after = time.perf_counter() - start, os.times()
            cores = after.user + after.system - before.user - before.system
            found = {"passed": 1000 * seconds / FRAMES, "of all cores": 1000 * cores / FRAMES}
            if name not in best or found["passed"] < best[name]["passed"]:
                best[name] = {key: round(value, 1) for key, value in found.items()}
    return best


if __name__ == "__main__":
    main()
