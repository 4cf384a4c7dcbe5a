"""SwinIR against basicsr's, and what tiles and bf16 change.

`python -m kd_lightning.benchmark.teacher PART` runs one part and writes `<out>/<part>.json`;
README.md beside it holds all parts.

* speed: light x2, random weights, 256x256 LR; interleaved with basicsr's, medians.
* memory: peak of a 2040x1404 output with the classical M variant, random weights, in tiles.
* tiles: the teacher's tiled against its untiled output on real images.
* bf16: the change of PSNR-Y against fp32 on real images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.benchmark.machine import describe
from kd_lightning.benchmark.quality import pictures, read_pair
from kd_lightning.compat import import_basicsr
from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS, write_json
from kd_lightning.memory import peak_memory
from kd_lightning.models.checkpoint import load_swinir
from kd_lightning.models.swinir import SwinIR
from kd_lightning.models.teacher import NetworkTeacher
from kd_lightning.quality import crop_border, luma, psnr

Row = dict[str, Any]

LIGHT: dict[str, Any] = {
    "upscale": 2,
    "embed_dim": 60,
    "depths": [6] * 4,
    "num_heads": [6] * 4,
    "window_size": 8,
    "mlp_ratio": 2,
    "upsampler": "pixelshuffledirect",
}
MEDIUM = {
    **LIGHT,
    "embed_dim": 180,
    "depths": [6] * 6,
    "num_heads": [6] * 6,
    "upsampler": "pixelshuffle",
}
TILES = (  # tile, halo, blend
    (256, 0, 0),
    (256, 8, 0),
    (256, 8, 8),
    (256, 16, 16),
    (256, 24, 8),
    (256, 32, 0),
    (256, 48, 16),
    (128, 24, 8),
)


@torch.inference_mode()
def speed(options: argparse.Namespace) -> list[Row]:
    """Seconds of each implementation, one call of each in turn; differences from basicsr's."""
    import_basicsr()
    from basicsr.archs.swinir_arch import SwinIR as Reference

    torch.manual_seed(0)
    reference = Reference(img_size=64, img_range=1.0, resi_connection="1conv", **LIGHT).eval()
    own = SwinIR(**LIGHT).eval()
    own.load_state_dict(reference.state_dict())
    x = torch.rand(1, 3, options.size, options.size)
    calls: dict[str, Callable[[], Tensor]] = {
        "basicsr fp32": partial(reference, x),
        "basicsr bf16 (autocast)": partial(autocast, reference, x),
        "kd_lightning fp32": partial(own, x),
        "kd_lightning bf16 (autocast)": partial(autocast, own, x),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    outputs = {}
    for name, call in calls.items():
        outputs[name] = call().float()  # the first call is not counted
    for _ in range(options.rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = "basicsr fp32"
    return [
        {
            "network": name,
            "seconds (median)": round(medians[name], 3),
            "fastest": round(min(seconds[name]), 3),
            "slowest": round(max(seconds[name]), 3),
            f"times {base}": round(medians[base] / medians[name], 2),
            "output MP/s": round(4 * options.size**2 / 1e6 / medians[name], 3),
            "largest difference": f"{float((outputs[name] - outputs[base]).abs().max()):.1e}",
        }
        for name in calls
    ]


def memory(options: argparse.Namespace) -> list[Row]:
    """Peak memory of the process with the M variant on 1020x702 LR, cut into the given tiles.

    Only ``--real-tiles`` of the largest tiles run through the network, the others are zeros; the
    buffers for the whole output are there.
    """
    before = peak_memory()
    network = SwinIR(**MEDIUM).eval().requires_grad_(False)
    teacher = NetworkTeacher("swinir_m", lambda *_: network, 2, precision=options.precision)
    some = SomeTiles(network, options.real_tiles, teacher.tile + 2 * (teacher.halo + teacher.blend))
    start = time.perf_counter()
    lr = torch.randint(0, 256, (3, 702, 1020), dtype=torch.uint8)
    output = teacher.enhance(some, lr)
    seconds = time.perf_counter() - start
    return [
        {
            "network": f"swinir_m, {options.precision}",
            "output": f"{output.shape[2]}x{output.shape[1]}",
            "tile + 2 * (halo + blend)": f"{teacher.tile} + 2 * ({teacher.halo} + {teacher.blend})",
            "tiles run": f"{some.done} of {some.calls}",
            "peak memory, GB": round(peak_memory() / 1e9, 2),
            "of it before, GB": round(before / 1e9, 2),
            "seconds": round(seconds, 1),
        }
    ]


@torch.inference_mode()
def tiles(options: argparse.Namespace) -> list[Row]:
    """How far tiled outputs are from the untiled one, in 8-bit levels, on the first images."""
    untiled = bundled(options, tile=1 << 20)
    network = untiled.network()
    paths = pictures(options.hr)[: options.images]
    images = [torch.tensor(read_pair(path, 2)[0]).permute(2, 0, 1) for path in paths]
    wholes = [untiled.enhance(network, lr).int() for lr in images]
    rows = []
    for tile, halo, blend in TILES:
        teacher = bundled(options, tile=tile, halo=halo, blend=blend)
        largest, total, pixels = 0, 0, 0
        changed = 0
        for lr, whole in zip(images, wholes, strict=True):
            difference = (teacher.enhance(network, lr).int() - whole).abs()
            largest = max(largest, int(difference.max()))
            total += int(difference.square().sum())
            changed += int((difference > 0).sum())
            pixels += difference.numel()
        rows.append(
            {
                "tile": tile,
                "halo": halo,
                "blend": blend,
                "largest difference, levels": largest,
                "values that differ": f"{100 * changed / pixels:.3f} %",
                "rms, levels": f"{(total / pixels) ** 0.5:.4f}",
            }
        )
    return rows


@torch.inference_mode()
def bf16(options: argparse.Namespace) -> list[Row]:
    """PSNR-Y (dB) of the 8-bit outputs in fp32 and bf16, by image."""
    full, half = bundled(options), bundled(options, precision="bf16")
    network = full.network()
    rows = []
    for path in pictures(options.hr)[: options.images]:
        lr, hr = (torch.tensor(image).permute(2, 0, 1) for image in read_pair(path, 2))
        expected = crop_border(luma(hr[None] / 255), 2)
        scores = [
            float(psnr(crop_border(luma(t.enhance(network, lr)[None] / 255), 2), expected))
            for t in (full, half)
        ]
        rows.append(
            {
                "image": path.stem,
                "fp32": round(scores[0], 3),
                "bf16": round(scores[1], 3),
                "change": f"{scores[1] - scores[0]:+.4f}",
            }
        )
    return rows


class SomeTiles(nn.Module):
    """Runs ``network`` on ``limit`` inputs of at least ``side`` pixels; answers zeros otherwise."""

    def __init__(self, network: SwinIR, limit: int, side: int) -> None:
        super().__init__()
        self.network, self.limit, self.side, self.multiple_of = (
            network,
            limit,
            side,
            network.multiple_of,
        )
        self.done = self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if min(x.shape[-2:]) >= self.side and self.done < self.limit:
            self.done += 1
            return self.network(x)
        return x.new_zeros(*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2)


def bundled(options: argparse.Namespace, **settings: Any) -> NetworkTeacher:
    return NetworkTeacher("teacher", load_swinir, 2, weights=options.weights, **settings)


def autocast(network: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16):
        return network(x)


PARTS = {"speed": speed, "memory": memory, "tiles": tiles, "bf16": bf16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong argument or a missing package."""
    parser = argparse.ArgumentParser("python -m kd_lightning.benchmark.teacher")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("experiments/benchmark/teacher"))
    parser.add_argument("--rounds", type=int, default=5, help="speed: timed calls of each")
    parser.add_argument("--size", type=int, default=256, help="speed: side of the LR image, pixels")
    parser.add_argument("--real-tiles", type=int, default=1, help="memory: tiles that are computed")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="memory")
    parser.add_argument("--hr", type=Path, help="tiles, bf16: folder of HR images")
    parser.add_argument("--images", type=int, default=5, help="tiles, bf16: how many of them")
    parser.add_argument(
        "--weights", type=Path, default=SHIPPED_WEIGHTS / "swinir_small.safetensors"
    )
    options = parser.parse_args(arguments)
    if options.part in ("tiles", "bf16") and options.hr is None:
        parser.error(f"{options.part} needs --hr")
    host = describe()
    try:
        rows = PARTS[options.part](options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    given = {
        key: "/".join(value.parts[-2:]) if isinstance(value, Path) else value
        for key, value in vars(options).items()
        if key != "out"
    }
    result = {"machine": host, "options": given, "rows": rows}
    write_json(options.out / f"{options.part}.json", result)
    (options.out / "README.md").write_text(report(options.out))
    print(table(rows))
    return 0


def report(folder: Path) -> str:
    """README.md of the parts that were run."""
    text = "# The teacher, measured\n\nWhat was tried and why: [NOTES.md](NOTES.md).\n"
    for part, function in PARTS.items():
        path = folder / f"{part}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        options = result["options"]
        keys = {"speed": ["size", "rounds"], "memory": ["real_tiles", "precision"]}
        used = keys.get(part, ["hr", "images", "weights"])
        flags = "".join(f" --{k.replace('_', '-')} {options[k]}" for k in used)
        host = result["machine"]
        text += (
            f"\n## {part}\n\n{(function.__doc__ or '').split(chr(10))[0]}\n\n"
            f"`python -m kd_lightning.benchmark.teacher {part}{flags}`\n\n{table(result['rows'])}\n"
            f"{host['processor']}, {host['threads']} threads, {host['device']}, "
            f"torch {host['versions']['torch']}, load before the run {host['load_before']}.\n"
        )
    return text


def table(rows: list[Row]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[key]) for key in head] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.exit(main())
