"""The machine that the figures belong to."""

import os
import platform
import time
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "openvino", "onnxruntime", "opencv-python", "basicsr", "numpy")


def describe() -> dict[str, Any]:
    """Processor, memory, system and package versions, and the load before the benchmark."""
    import torch

    from kd_lightning import __version__

    versions = {"kd_lightning": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "threads": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only",
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
        "load_before": round(os.getloadavg()[0], 2),
    }


@lru_cache
def matrix_peaks() -> dict[str, float]:
    """10^9 operations a second of a 2048x2048 matrix product in torch, the best of six, for fp32,
    int8 and, where the CPU multiplies it, bf16: the ceiling that the networks are held against. A
    convolution whose operands stay nearer to the core can pass it."""
    import torch

    from kd_lightning.deploy.backends import cpu_has_bf16

    torch.set_num_threads(os.cpu_count() or 1)
    peaks = {}
    kinds = {
        "fp32": torch.float32,
        "bf16": torch.bfloat16 if cpu_has_bf16() else None,
        "int8": torch.int8,
    }
    for name, dtype in kinds.items():
        if dtype is None:
            continue
        a, b = ((9 * torch.rand(2048, 2048)).to(dtype) for _ in range(2))
        product = torch._int_mm if dtype == torch.int8 else torch.matmul
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            product(a, b)
            seconds.append(time.perf_counter() - start)
        peaks[name] = 2 * 2048**3 / min(seconds[1:]) / 1e9
    return peaks


def others_seconds() -> float:
    """CPU seconds that programs other than this have taken since the machine started, to tell how
    quiet it was; 0 where unknown."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = (float(part) for part in line[1:8])
    busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return busy - own.user - own.system


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
