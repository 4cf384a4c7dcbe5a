"""How many frames a second a stream has."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from kd_lightning.video.formats import pyav

USUAL = Fraction(30)  # frames a second, where nothing says
FASTEST = 240  # frames a second that a stream is believed to have
STEPS = 8  # between frames, from which a rate is learned that no stream says
NEAR = 0.1  # share by which a median may differ from the rate, because clocks tick


def stated_rate(stream: Any) -> Fraction | None:
    """Of an `av` video stream; None where it does not say what a camera could have."""
    # Raw streams (.264) have 25 on average, whatever their frames say: FFmpeg's default.
    raw = stream.container.format.flags & pyav().format.Flags.no_timestamps.value
    return _believed(stream.guessed_rate if raw else stream.average_rate)


def guessed_rate(stream: Any) -> Fraction:
    """What FFmpeg guesses: at times a multiple of the rate, or the ticks of the stream's clock, of
    those that browsers record 1000 a second."""
    return _believed(stream.guessed_rate) or USUAL


def measured_rate(times: Sequence[Fraction], guess: Fraction) -> Fraction:
    """Of frames at these times, in seconds and rising; a pause among them changes nothing. It is
    `guess` where that is near."""
    steps = [after - before for before, after in pairwise(times)]
    if not steps:
        return guess
    measured = 1 / statistics.median(steps)
    return guess if abs(measured / guess - 1) < NEAR else measured


def _believed(rate: Fraction | None) -> Fraction | None:
    return Fraction(rate) if rate and rate <= FASTEST else None
