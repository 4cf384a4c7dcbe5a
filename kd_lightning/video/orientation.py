"""Frames that a camera stores otherwise than they are shown, as a phone held upright does."""

from __future__ import annotations

from typing import Any

import numpy as np

from kd_lightning.video.frame import Pixels

Matrix = tuple[int, ...]


def display_matrix(frame: Any) -> Matrix | None:
    """The 9 integers with which an `av.VideoFrame` says how it is to be turned."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return tuple(int(number) for number in np.frombuffer(bytes(data), np.int32))
    return None


def turns_sides(matrix: Matrix) -> bool | None:
    """Whether rows become columns; None for other angles than multiples of 90 degrees."""
    a, b, _, c, d = matrix[:5]
    if b == c == 0 and a and d:
        return False
    return True if a == d == 0 and b and c else None


def upright(pixels: Pixels, matrix: Matrix) -> Pixels:
    """Turned, and mirrored where it says so, by multiples of 90 degrees.

    A point (x, y) is shown at (a x + c y, b x + d y), y down (FFmpeg's libavutil/display.h).
    """
    a, b, _, c, d = matrix[:5]
    turned = pixels.swapaxes(0, 1) if turns_sides(matrix) else pixels
    across, down = (-1 if a + c < 0 else 1), (-1 if b + d < 0 else 1)
    return np.ascontiguousarray(turned[::down, ::across])
