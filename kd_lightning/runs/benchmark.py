"""Quality and time of methods, as `python -m kd_lightning.benchmark` left them."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

# The protocol's metrics: what they are called, and digits after the point.
SCORES = {"psnr_y": ("PSNR-Y", 2), "ssim_rgb": ("RGB-SSIM", 4), "ssim_y": ("SSIM-Y", 4)}


class Method(NamedTuple):
    """A way to enhance that was both scored and timed.

    Attributes:
        name: for example "student_fast int8".
        ms: frame ("1080p") -> milliseconds, median.
        quality: test set -> metric -> score.
    """

    name: str
    ms: dict[str, float]
    quality: dict[str, dict[str, float]]


def read_benchmark(path: Path) -> list[Method]:
    """The methods of a `benchmark.json`. Raises OSError, or ValueError for another kind of file."""
    try:
        result = json.loads(path.read_text())
        times: dict[str, dict[str, float]] = {}
        for case in result["speed"]:
            if "error" not in case:
                frames = times.setdefault(case["method"], {})
                frames[str(case["frame"])] = float(case["frame_ms"]["median"])
        methods = []
        for name, timed_as in result["timed_as"].items():
            quality = {
                str(test): {key: _number(entry["scores"][name][key]) for key in SCORES}
                for test, entry in result["quality"].items()
                if name in entry["scores"]
            }
            if quality and timed_as in times:
                methods.append(Method(str(name), times[timed_as], quality))
        return methods
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{path} holds no quality and speed") from None


def _number(value: Any) -> float:
    """Null is what JSON has for infinity: the PSNR of equal images."""
    return math.inf if value is None else float(value)
