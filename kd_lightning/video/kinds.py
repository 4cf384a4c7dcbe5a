"""What makes a frame in mid-stream other than the first, in a way that one output cannot have."""

from __future__ import annotations

from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.video.formats import frame_color, refuse
from kd_lightning.video.frame import UNSPECIFIED, Color


def change(first: Any, frame: Any, shown: str) -> str:
    """How an `av.VideoFrame` of the file `shown` differs in kind from its first; empty where it
    does not."""
    if (frame.height, frame.width) != (first.height, first.width):
        return f"its size changes from {first.width}x{first.height} to {frame.width}x{frame.height}"
    if frame.format.name != first.format.name:
        return f"its frames change from {first.format.name} to {frame.format.name}"
    if frame.interlaced_frame:
        return "becomes interlaced"
    before, after = frame_color(first), frame_color(frame)
    if _differ(before, after):  # an output says once how its numbers are to be read
        return f"its colours change from {_words(before)} to {_words(after)}"
    return unreadable(frame, shown)  # of colours that `Color` does not have


def unreadable(frame: Any, shown: str) -> str:
    """Why a frame of the file `shown` cannot be restored; empty where it can."""
    try:
        refuse(frame, shown)
    except UserError as error:
        return str(error).removeprefix(f"{shown}: ")
    return ""


def _differ(before: Color, after: Color) -> bool:
    """Primaries and transfer that are not said may be the same."""
    pairs = ((before.primaries, after.primaries), (before.transfer, after.transfer))
    said = any(one != other and UNSPECIFIED not in (one, other) for one, other in pairs)
    return said or (before.matrix, before.full_range) != (after.matrix, after.full_range)


def _words(color: Color) -> str:
    reach = "full" if color.full_range else "limited"
    return f"{color.matrix}, {reach} range, primaries {color.primaries}, transfer {color.transfer}"
