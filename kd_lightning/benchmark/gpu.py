"""python -m kd_lightning.benchmark.gpu: the students on a CUDA device, against its two floors.

No network runs faster than its multiplications at the speed of the device's matrix product, nor
faster than its feature maps, each read once and written once in 16 bits, move through memory.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kd_lightning.benchmark.machine import describe
from kd_lightning.benchmark.speed import FRAMES, macs_per_pixel, per_pixel
from kd_lightning.deploy.backends.cuda_stream import GpuStream
from kd_lightning.deploy.uint8 import Uint8Model
from kd_lightning.errors import UserError
from kd_lightning.files import write_json
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.network import Network
from kd_lightning.models.pretrained import shipped

SIDE = 8192  # of the matrices of the product
COPIED = 2**30  # bytes of the copy
REPEATS = 50
STREAMED = 400  # frames that are timed as a stream


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 no CUDA device."""
    parser = argparse.ArgumentParser("python -m kd_lightning.benchmark.gpu", description=__doc__)
    parser.add_argument("--frame", choices=FRAMES, default="1080p", help="size of the output")
    parser.add_argument("-o", "--output", type=Path, default=Path("experiments/benchmark/gpu.json"))
    options = parser.parse_args(arguments)
    try:
        if not torch.cuda.is_available():
            raise UserError("torch sees no CUDA device here; `make benchmark` measures the CPU")
        result = run(*FRAMES[options.frame])
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result, indent=1)
    print(table(result))
    return 0


def run(height: int, width: int) -> dict[str, Any]:
    """Every shipped student at one output size."""
    measured = ceilings()
    rows = []
    for name, path in shipped().items():
        network, _ = load_artifact(path)
        lowest = floors(network, height, width, measured)
        for way, build in WAYS.items():
            row = build(network.cuda(), height // network.scale, width // network.scale)
            rows.append({"student": name, "way": way, **lowest, **row})
            rows[-1]["share_of_floor"] = max(lowest.values()) / row["device_ms"]
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            gc.collect()
            torch.cuda.empty_cache()
    return {"machine": describe(), "ceilings": measured, "output": [height, width], "rows": rows}


def ceilings() -> dict[str, float]:
    """FLOP/s of a fp16 matrix product, and bytes/s, read plus written, of a copy."""
    a, b = (torch.randn(SIDE, SIDE, dtype=torch.float16, device="cuda") for _ in range(2))
    source = torch.randint(0, 256, (COPIED,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return {
        "flops": 2 * SIDE**3 / device_ms(lambda: a @ b) * 1000,
        "bytes": 2 * COPIED / device_ms(lambda: target.copy_(source)) * 1000,
    }


def floors(
    network: Network, height: int, width: int, ceiling: dict[str, float]
) -> dict[str, float]:
    """Milliseconds that a frame takes at least, for its arithmetic and for its memory traffic."""
    pixels = height * width // (network.scale**2 if network.takes_lr else 1)
    return {
        "arithmetic_ms": 2000 * macs_per_pixel(network) * pixels / ceiling["flops"],
        "memory_ms": 1000 * bytes_per_pixel(network) * pixels / ceiling["bytes"],
    }


def bytes_per_pixel(network: Network) -> float:
    """Inputs and outputs of all convolutions in 16 bits, for one pixel of the network's input."""
    return per_pixel(network, (nn.Conv2d,), lambda layer, x, out: 2 * (x.numel() + out.numel()))


def eager(network: Network, height: int, width: int) -> dict[str, float]:
    """Plain `model(x)`, not cast, on an interpolated image that is on the device already."""
    inner = 1 if network.takes_lr else network.scale
    x = torch.rand(1, 3, height * inner, width * inner, device="cuda")
    with torch.inference_mode():
        torch.cuda.reset_peak_memory_stats()
        return {"device_ms": device_ms(lambda: network(x)), **memory()}


def streamed(network: Network, height: int, width: int, compiled: bool) -> dict[str, float]:
    """From 8-bit frames in the host's memory to 8-bit frames there."""
    whole = Uint8Model(network.to(memory_format=torch.channels_last), torch.float16).cuda()  # type: ignore[call-overload]
    stream = GpuStream(whole, height, width, compiled)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    some = np.random.default_rng(0).integers(0, 256, (8, height, width, 3), np.uint8)

    def frames(count: int) -> Iterator[np.ndarray]:
        return islice(cycle(some), count)

    for _ in stream(frames(20)):
        pass
    start = time.perf_counter()
    for _ in stream(frames(STREAMED)):
        pass
    seconds = time.perf_counter() - start
    row = {"device_ms": device_ms(stream.replay), "fps": STREAMED / seconds, **memory()}
    exact = Uint8Model(network).cuda()
    apart = 0
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for frame, sr in zip(some, stream(some), strict=True):
            expected = exact(torch.from_numpy(frame)[None].cuda())[0].cpu().numpy()
            apart = max(apart, int(np.abs(sr.astype(int) - expected).max()))
    return {**row, "levels_from_fp32": apart}


WAYS: dict[str, Callable[[Network, int, int], dict[str, float]]] = {
    "eager": eager,
    "fp16 graph": partial(streamed, compiled=False),
    "fp16 graph, compiled": partial(streamed, compiled=True),
}


def memory() -> dict[str, float]:
    """Megabytes of the device that torch has held since the last reset."""
    return {"memory_mb": torch.cuda.max_memory_reserved() / 1e6}


def device_ms(call: Callable[[], Any]) -> float:
    """Median milliseconds on the device, after a warm-up."""
    for _ in range(5):
        call()
    times = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def table(result: dict[str, Any]) -> str:
    """For people, with the device and its ceilings."""
    ceiling, (height, width) = result["ceilings"], result["output"]
    lines = [
        f"{result['machine']['device']}: fp16 matrix product {ceiling['flops'] / 1e12:.0f} TFLOP/s,"
        f" copy {ceiling['bytes'] / 1e12:.2f} TB/s; {width}x{height} out",
        "| student | way | device ms | arithmetic / memory | share | frames/s | MB | levels |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        cells = [
            row["student"],
            row["way"],
            f"{row['device_ms']:.3f}",
            f"{row['arithmetic_ms']:.3f} / {row['memory_ms']:.3f}",
            f"{row['share_of_floor']:.0%}",
            f"{row['fps']:.0f}" if "fps" in row else "",
            f"{row['memory_mb']:.0f}",
            str(row.get("levels_from_fp32", "")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
