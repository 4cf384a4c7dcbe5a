"""Test clips: decoded to RGB by the project's one definition of YUV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd_lightning.data.degradations.codec import pyav
from kd_lightning.errors import UserError
from kd_lightning.yuv import Matrix, matrix_of_size, read_planes, yuv_to_rgb

FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601"}  # FFmpeg's AVCOL_SPC_*


@dataclass(frozen=True)
class Clip:
    """`frames` uint8 (H, W, 3) RGB, `rate` a second."""

    name: str
    frames: list[np.ndarray]
    rate: float


def read_clip(path: Path) -> Clip:
    """All frames of a 4:2:0 video file, in memory.

    Raises:
        UserError: no such file, not a video, another pixel format, or PyAV is not installed.
    """
    av = pyav()
    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            frames = [_rgb(frame, path) for frame in file.decode(stream)]
            rate = float(stream.average_rate or 30)
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise UserError(f"{path}: not a readable video ({error})") from None
    return Clip(path.stem, frames, rate)


def _rgb(frame: Any, path: Path) -> np.ndarray:
    kind = frame.format.name
    if kind not in ("yuv420p", "yuvj420p"):
        raise UserError(f"{path}: {kind} frames; the call benchmark reads 8-bit 4:2:0")
    full_range = kind == "yuvj420p" or frame.color_range == FULL_RANGE
    matrix = MATRICES.get(int(frame.colorspace), matrix_of_size(frame.height))
    return yuv_to_rgb(read_planes(frame), matrix, full_range)
