"""Whether restoring luma alone pays: a student that reads and writes luma, beside its twin in RGB.

Trained by train.py (README.md, "Luma alone"); then, from the repository's root,

python -m experiments.call.luma --rgb FILE ... --luma FILE ...

scores them on filmed validation photographs (held_out.py), several files being several seeds, and
times the first of both on 4:2:0 planes, as a video has them, to planes: 640x360 to 1280x720,
OpenVINO in bf16, in turns. The twin in RGB goes the way of kd-enhance (planes to RGB, network,
planes); luma goes through one graph to 8-bit levels, chroma through the same bicubic kernel.
Writes luma.json here.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.call import held_out
from experiments.call.student_luma import LOW, RANGE
from kd_lightning.benchmark.calls.__main__ import restored
from kd_lightning.benchmark.machine import describe, others_seconds
from kd_lightning.deploy.backends import open_weights
from kd_lightning.deploy.on_lr import balanced
from kd_lightning.deploy.openvino_graph import inference, read_graph
from kd_lightning.deploy.uint8 import Interpolation
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import KERNEL_RADIUS
from kd_lightning.models.network import fuse
from kd_lightning.yuv import Yuv, yuv_to_rgb

HEIGHT, WIDTH = 360, 640
ROUNDS, FRAMES = 9, 10
Ways = dict[str, Callable[[], object]]


class Plane(nn.Module):
    """(1,1,h,w) uint8 to (1,1,2h,2w) uint8: interpolated, with the detail of `body` if given."""

    kernel: Tensor

    def __init__(self, body: nn.Sequential | None = None) -> None:
        super().__init__()
        kernel = 255 * Interpolation(2).kernel[:4, :1]  # of red to red
        self.register_buffer("kernel", torch.from_numpy(balanced(kernel.numpy())))
        self.body, self.low = body, LOW if body else 0.0
        for layer in body or ():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach() * RANGE)  # it computes in levels

    def forward(self, plane: Tensor) -> Tensor:
        levels = plane.float() - self.low
        blocks = F.conv2d(F.pad(levels, [KERNEL_RADIUS] * 4, mode="replicate"), self.kernel)
        if self.body:
            blocks = blocks.clamp(0, RANGE) + self.body(levels)
        return F.pixel_shuffle((blocks + self.low + 0.5).clamp(0, 255).byte(), 2)


def graph(module: nn.Module, width: int) -> Callable[[np.ndarray], np.ndarray]:
    buffer = io.BytesIO()
    example = torch.zeros(1, 1, HEIGHT, width, dtype=torch.uint8)
    torch.onnx.export(module.eval(), (example,), buffer, dynamo=False)
    return inference(read_graph(buffer.getvalue()), "bf16")


def ways(rgb: Path, luma: Path) -> Ways:
    noise = np.random.default_rng(0).integers(16, 236, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    y, uv = noise[:HEIGHT], noise[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    planes = Yuv(y, uv[0], uv[1])
    frame = yuv_to_rgb(planes, "bt709")
    to_planes = open_weights(rgb, "openvino", "cpu").planes
    body = fuse(load_artifact(luma)[0]).body
    assert to_planes and isinstance(body, nn.Sequential)
    restore = graph(Plane(body), WIDTH)
    enlarge = graph(Plane(), WIDTH // 2)  # both planes, one above the other, as many pixels
    chroma = uv.reshape(1, 1, HEIGHT, WIDTH // 2)
    return {
        "RGB": lambda: to_planes(yuv_to_rgb(planes, "bt709"), "bt709", False),
        "RGB, from an RGB frame": lambda: to_planes(frame, "bt709", False),
        "luma": lambda: (restore(y[None, None]), enlarge(chroma)),
        "luma, without chroma": lambda: restore(y[None, None]),
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
