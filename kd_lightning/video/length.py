"""How long a video says that it is."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from kd_lightning.video.formats import pyav

GUESS = 0.25  # seconds by which a duration may err that no stream states
SHORT = 0.6  # of a frame, by which an end may come early that a stream states


def stated_seconds(container: Any, stream: Any) -> float | None:
    """Of the `av` stream, else of its container; None where neither says."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return container.duration / float(pyav().time_base)
    return None


def promised_end(
    container: Any, stream: Any, rate: Fraction, alone: bool
) -> tuple[float, float] | None:
    """When the last frame should end, and how much earlier it may, in seconds.

    Args:
        container: of `av`.
        stream: its video stream.
        rate: frames a second.
        alone: nothing lies beside the frames.

    Returns:
        None where the file does not say, or says when something else ends.
    """
    most = SHORT / float(rate)
    start = float((stream.start_time or 0) * stream.time_base)
    if "mp4" in container.format.name and stream.duration:
        return start + float(stream.duration * stream.time_base), most
    if "matroska" in container.format.name and (
        tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    ):
        hours, minutes, seconds = map(float, tag.groups())
        return 3600 * hours + 60 * minutes + seconds, most  # from 0 on
    if container.duration and alone:  # else of the longest, or a guess
        return start + container.duration / pyav().time_base, GUESS
    return None
