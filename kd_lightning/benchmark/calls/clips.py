"""Test clips: decoded to RGB as kd-enhance does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd_lightning.errors import UserError
from kd_lightning.video.reader import Reader


@dataclass(frozen=True)
class Clip:
    """`frames` uint8 (H, W, 3) RGB, `rate` a second."""

    name: str
    frames: list[np.ndarray]
    rate: float


def read_clip(path: Path) -> Clip:
    """All frames of a video file, in memory.

    Raises:
        UserError: not a video that can be restored, a damaged one, or PyAV is not installed.
    """
    with Reader(path) as reader:
        clip = Clip(path.stem, [frame.pixels for frame in reader], float(reader.info.rate))
    if reader.problems:
        raise UserError(f"{path}: {reader.problems[0]}")
    return clip
