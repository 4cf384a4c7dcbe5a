"""How fast a method turns a frame around, and how near that is to what the machine can do.

A case runs in a process of its own (`python -m kd_lightning.benchmark.speed CASE`), so that its
peak memory and threads are its own.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kd_lightning.memory import peak_memory

FRAMES = {"540p": (540, 960), "720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
ENOUGH = 15  # timed repetitions at most
SECONDS = 1.5  # and no further repetition after this, once there are three


@dataclass
class Case:
    """One method at one output size.

    Attributes:
        method: its name in the table.
        kind: "student" (through a backend), "eager" (plain `model(x)`, fp32, NCHW), "opencv" (a
            filter), "opencv dnn" or "basicsr".
        architecture, arguments: the network; for "opencv" the filter, for "basicsr" module.class.
        frame: key of FRAMES, the size of the output; the input is half of it.
        weights: an export of the network to run in its place ("student" only); not reported.
    """

    method: str
    kind: str
    architecture: str
    frame: str
    arguments: dict[str, Any] = field(default_factory=dict)
    backend: str = "torch"
    precision: str = "fp32"
    weights: str = ""


def run_case(case: Case, peaks: Mapping[str, float], imports: Sequence[str] = ()) -> dict[str, Any]:
    """Measure in a new process; {"error": ...} where the method cannot run here.

    Args:
        peaks: precision -> GFLOP/s of the machine.
        imports: modules with the classes of networks that are not of kd_lightning.
    """
    command = [sys.executable, "-m", "kd_lightning.benchmark.speed", json.dumps(asdict(case))]
    command += imports
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {**_identity(case), "error": last[:200]}
    result = json.loads(done.stdout.splitlines()[-1])
    engine = result.get("int8") and case.backend != "torch"  # torch rounds floating-point numbers
    peak = peaks.get("int8" if engine else case.precision)
    if "gflops" in result and peak:
        result["share_of_peak"] = result["gflops"] / peak
    return result


def measure(case: Case) -> dict[str, Any]:
    """Time the network alone on a frame in memory, and the whole way from an 8-bit small frame to
    an 8-bit large one; milliseconds. Memory is the process's peak for the latter, above its
    imports."""
    network, whole, facts = _prepare(case)
    base = peak_memory()
    result = {**_identity(case), **facts, "frame_ms": timed(whole)}
    result["memory_mb"] = (peak_memory() - base) / 1e6
    if network is not None:
        result["network_ms"] = timed(network)
    result["fps"] = 1000 / result["frame_ms"]["median"]
    if "gmac" in facts and network is not None:
        result["gflops"] = 2 * facts["gmac"] / (result["network_ms"]["median"] / 1000)
    return result


def _identity(case: Case) -> dict[str, Any]:
    return {key: value for key, value in asdict(case).items() if key != "weights"}


def timed(call: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of `call`, after a warm-up: median, 95th percentile, fastest, repetitions."""
    start = time.perf_counter()
    call()
    if time.perf_counter() - start < SECONDS:  # the first of two frames is not yet compiled for
        call()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < ENOUGH and (len(times) < 3 or time.perf_counter() - start < SECONDS):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1000)
    ranked = sorted(times)
    return {
        "median": statistics.median(ranked),
        "p95": ranked[min(len(ranked) - 1, math.ceil(0.95 * len(ranked)) - 1)],
        "fastest": ranked[0],
        "repetitions": len(ranked),
    }


Call = Callable[[], Any]


def _prepare(case: Case) -> tuple[Call | None, Call, dict[str, Any]]:
    import numpy as np
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    height, width = FRAMES[case.frame]
    small = np.random.default_rng(0).integers(0, 256, (height // 2, width // 2, 3), np.uint8)
    if case.kind == "opencv":
        return None, _opencv_filter(case.architecture, small), {}
    network = network_of(case)
    inside = (height // 2, width // 2) if network.takes_lr else (height, width)
    x = torch.rand(1, 3, *inside)
    facts = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "gmac": macs_per_pixel(network) * inside[0] * inside[1] / 1e9,
        "int8": case.precision == "int8" or bool(getattr(network, "int8", False)),
    }
    if case.kind == "opencv dnn":
        run = _opencv_dnn(network)
        return lambda: run(x.numpy()), lambda: _from_small(run, small, network.takes_lr), facts
    if case.kind in ("eager", "basicsr"):
        return lambda: network(x), lambda: _eager(network, small), facts
    from kd_lightning.deploy.backends import from_network, open_weights
    from kd_lightning.deploy.enhance import enhance

    if case.weights:
        runner = open_weights(case.weights, device="cpu")
    else:
        runner = from_network(network, case.backend, torch.device("cpu"), case.precision)
    x = x.contiguous(memory_format=torch.channels_last) if case.backend == "torch" else x
    return lambda: runner(x), lambda: enhance(runner, small, 2), facts


def network_of(case: Case) -> Any:
    """The case's network, with random weights and, in 8 bits, the ranges that a step of training
    leaves: without them it rounds nothing, and engines run it in floating point."""
    if case.kind == "basicsr":
        from importlib import import_module

        from kd_lightning.compat import import_basicsr

        import_basicsr()
        module, _, name = case.architecture.rpartition(".")
        network = getattr(import_module(f"basicsr.archs.{module}"), name)(**case.arguments)
        network.takes_lr, network.scale = True, 2
        return network.eval()
    import torch

    from kd_lightning.models.lookup import find_class
    from kd_lightning.models.network import fuse, model_info

    network = find_class(case.architecture, case.method)(**case.arguments)
    if model_info(network).int8:
        side = small_side(network)
        with torch.no_grad():
            network.train()(torch.rand(2, 3, side, side))
    return fuse(network).eval()


def _eager(network: Any, small: Any) -> Any:
    import torch

    from kd_lightning.models.interpolate import super_resolve

    lr = torch.from_numpy(small).permute(2, 0, 1)[None].contiguous().float() / 255
    return (super_resolve(network, lr).clamp(0, 1) * 255).round().byte()


def _opencv_filter(name: str, small: Any) -> Call:
    import cv2

    size = (small.shape[1] * 2, small.shape[0] * 2)
    if name == "bicubic":
        return lambda: cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)

    def lanczos_unsharp() -> Any:
        large = cv2.resize(small, size, interpolation=cv2.INTER_LANCZOS4)
        return cv2.addWeighted(large, 1.5, cv2.GaussianBlur(large, (0, 0), 1.0), -0.5, 0)

    return lanczos_unsharp


def _opencv_dnn(network: Any) -> Callable[[Any], Any]:
    import cv2
    import numpy as np

    from kd_lightning.deploy.onnx_graph import to_onnx

    net = cv2.dnn.readNetFromONNX(np.frombuffer(to_onnx(network), np.uint8))

    def run(x: Any) -> Any:
        net.setInput(x)
        return net.forward()

    return run


def _from_small(run: Callable[[Any], Any], small: Any, takes_lr: bool) -> Any:
    import numpy as np
    import torch

    from kd_lightning.models.interpolate import upscale

    image = torch.from_numpy(small).permute(2, 0, 1)[None]
    x = (image if takes_lr else upscale(image, 2)).contiguous().float() / 255
    return (np.clip(run(x.numpy()), 0, 1) * 255).round().astype(np.uint8)


def macs_per_pixel(network: Any) -> float:
    """Multiply-adds of the convolutions and linear layers for one pixel of the input."""
    from torch import nn

    kinds = (nn.Conv2d, nn.Linear)
    return per_pixel(network, kinds, lambda layer, x, out: out.numel() * layer.weight[0].numel())


def per_pixel(
    network: Any, kinds: tuple[type[Any], ...], count: Callable[[Any, Any, Any], int]
) -> float:
    """Sum of `count(layer, input, output)` over the layers of these kinds for one pixel of the
    input, from a small image."""
    import torch

    total = 0

    def add(layer: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        total += count(layer, inputs[0], output)

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, kinds)]
    side = small_side(network)
    with torch.inference_mode():
        network(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total / side**2


def small_side(network: Any) -> int:
    """Of a small image that the network takes: 64 pixels, or a few more."""
    multiple = int(getattr(network, "multiple_of", 1))
    return -(-64 // multiple) * multiple


if __name__ == "__main__":
    from kd_lightning.models.lookup import import_modules

    import_modules(sys.argv[2:])
    print(json.dumps(measure(Case(**json.loads(sys.argv[1])))))
