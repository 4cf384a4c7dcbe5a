"""What same-size networks do to photographs: sharp ones, JPEG files, interpolated ones."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kd_lightning import quality
from kd_lightning.benchmark.calls.measure import METRICS, Method
from kd_lightning.benchmark.quality import pair, pictures, read_pair, to_tensor

QUALITIES = (30, 50, 75, 90)  # of libjpeg
Damage = Callable[[np.ndarray], np.ndarray]  # (H,W,3) uint8 -> (H,W,3) uint8


def damages() -> dict[str, Damage]:
    """By name; the first leaves a photograph as it is."""
    found: dict[str, Damage] = {"sharp": lambda hr: hr}
    for level in QUALITIES:
        found[f"JPEG {level}"] = partial(_jpeg, level=level)
    found["interpolated by 2"] = _interpolated
    return found


@torch.inference_mode()
def measure_photos(folder: Path, methods: Mapping[str, Method]) -> dict[str, dict[str, float]]:
    """Damage -> method -> mean gain of PSNR-Y over the damaged photograph, in dB; for "sharp", the
    mean PSNR (RGB) of the output against the photograph."""
    files = pictures(folder)
    found: dict[str, dict[str, float]] = {}
    for name, damage in damages().items():
        sums = dict.fromkeys(methods, 0.0)
        for file in files:
            _, hr = read_pair(file, 2)
            damaged, truth = damage(hr), to_tensor(hr)
            before = METRICS["psnr_y"].function(to_tensor(damaged), truth, 1)
            for method, restore in methods.items():
                after = quality.to_8bit(restore(damaged))
                if name == "sharp":
                    sums[method] += float(quality.psnr(after, truth))
                else:
                    sums[method] += float(METRICS["psnr_y"].function(after, truth, 1) - before)
        found[name] = {method: total / len(files) for method, total in sums.items()}
    return found


def _jpeg(hr: np.ndarray, level: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(hr).save(file, "JPEG", quality=level)
    return np.array(Image.open(file))


def _interpolated(hr: np.ndarray) -> np.ndarray:
    lr, _ = pair(hr, 2)
    size = (hr.shape[1], hr.shape[0])
    return np.array(Image.fromarray(lr).resize(size, Image.Resampling.BICUBIC))
