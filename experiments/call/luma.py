"""Whether restoring luma alone pays: a student with `student.grey=true`, beside its twin in RGB.

Trained by train.py (README.md, "Luma alone"); then, from the repository's root,

python -m experiments.call.luma --rgb FILE ... --luma FILE ...

scores them on filmed validation photographs (held_out.py), several files being several seeds, and
times the first of both from a video's 4:2:0 planes to planes, 640x360 to 1280x720, as kd-enhance
runs them: OpenVINO in bf16, in turns. Writes luma.json here.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from experiments.call import held_out
from kd_lightning.benchmark.calls.__main__ import restored
from kd_lightning.benchmark.machine import describe, others_seconds
from kd_lightning.deploy.backends import open_weights
from kd_lightning.yuv import Yuv, yuv_to_rgb

HEIGHT, WIDTH = 360, 640
ROUNDS, FRAMES = 9, 10
Ways = dict[str, Callable[[], object]]


def ways(rgb: Path, luma: Path) -> Ways:
    noise = np.random.default_rng(0).integers(16, 236, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    uv = noise[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    planes = Yuv(noise[:HEIGHT], uv[0], uv[1])
    frame = yuv_to_rgb(planes, "bt709")
    to_planes = open_weights(rgb, "openvino", "cpu", "bf16").planes
    on_planes = open_weights(luma, "openvino", "cpu", "bf16").luma
    assert to_planes and on_planes
    return {
        "RGB": lambda: to_planes(yuv_to_rgb(planes, "bt709"), "bt709", False),
        "RGB, from an RGB frame": lambda: to_planes(frame, "bt709", False),
        "luma": lambda: on_planes(planes, "bt709", False),
    }


def timed(ways: Ways) -> dict[str, dict[str, float]]:
    """Milliseconds for a frame in each way, and as a share of the first way's: medians."""
    for way in ways.values():
        for _ in range(3):
            way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(FRAMES):
                way()
            found[name].append(1000 * (time.perf_counter() - start) / FRAMES)
    first = next(iter(found.values()))
    return {
        name: {
            "ms": statistics.median(values),
            "share": statistics.median(a / b for a, b in zip(values, first, strict=True)),
        }
        for name, values in found.items()
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in ("rgb", "luma"):
        parser.add_argument(f"--{kind}", type=Path, nargs="+", required=True)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos/valid_HR"))
    options = parser.parse_args()
    start, others = time.perf_counter(), others_seconds()
    rows = timed(ways(options.rgb[0], options.luma[0]))
    others = max(0.0, (others_seconds() - others) / (time.perf_counter() - start))
    files = {
        f"{kind}_seed{seed}": path
        for kind in ("rgb", "luma")
        for seed, path in enumerate(getattr(options, kind))
    }
    gains = held_out.measure(options.photos, {k: restored(p, 2) for k, p in files.items()}, 2, 1.0)
    result = {"milliseconds": rows, "others": others, "gains": gains, "machine": describe()}
    (Path(__file__).parent / "luma.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rows, indent=1))
    print(*(held_out.table(gains, metric) for metric in held_out.METRICS), sep="\n")


if __name__ == "__main__":
    main()
