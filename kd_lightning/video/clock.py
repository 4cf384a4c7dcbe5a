"""The times of a source, mapped so that they begin near 0 and never jump.

Film and copied streams go through one `Clock`, packet by packet, so that they stay together.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kd_lightning.video.formats import pyav

LATE = 10  # seconds; a source that starts later was cut out of something longer
PRIMING = 0.2  # seconds before 0 that a decoder of sound needs, and players hide
FORWARD = 10  # seconds that time jumps ahead by, at least; FFmpeg's dts_delta_threshold
# Seconds that time jumps back by, at least, in formats where it may and in others: less is a slip
# of one packet, after which all is as before.
BACK = {True: Fraction(1, 2), False: Fraction(1)}
LAG = 3  # seconds by which the streams of a file may lie apart in it
STEADY = ("video", "audio")  # streams that have no pauses


@dataclass
class _Stretch:
    """Time between two jumps: what is added to it, and from where to where it reaches without."""

    offset: Fraction
    start: Fraction | None = None
    end: Fraction | None = None

    def reaches(self, at: Fraction, end: Fraction) -> None:
        self.start = at if self.start is None else self.start
        self.end = end if self.end is None else max(self.end, end)

    def is_near(self, at: Fraction, seconds: int) -> bool:
        return self.end is None or abs(at - self.end) <= seconds

    @property
    def length(self) -> Fraction:
        if self.start is None or self.end is None:
            return Fraction(0)
        return self.end - self.start


@dataclass
class _Track:
    """Where one stream is: in which stretch, its last packet, the end of that, and its length."""

    stretch: _Stretch
    at: Fraction | None = None
    end: Fraction = Fraction(0)
    lasts: Fraction = Fraction(0)


class Clock:
    """
    Args:
        container: of `av`.
        film: its stream of frames.

    Attributes:
        offset: seconds that are added to all times from the start on; 0 for usual files.
        notes: for people: empty, or one line that says where time jumps.
    """

    def __init__(self, container: Any, film: Any) -> None:
        self.offset = -_start(container, film)
        self.notes: list[str] = []
        self._jumps = 0
        self._may_jump = bool(container.format.flags & pyav().format.Flags.ts_discont.value)
        self._newest = _Stretch(self.offset)
        self._tracks: dict[int, _Track] = {}

    def set(self, packet: Any) -> None:
        """Map the times of a packet, of those in the order in which they lie in the source."""
        offset = self._stretch(packet).offset
        ticks = round(offset / packet.time_base) if offset else 0
        if ticks and packet.pts is not None:
            packet.pts += ticks
        if ticks and packet.dts is not None:
            packet.dts += ticks

    def _stretch(self, packet: Any) -> _Stretch:
        track = self._tracks.setdefault(packet.stream.index, _Track(self._newest))
        if packet.dts is None:  # where dts are missing at all, nothing says what a jump is
            return track.stretch
        # Decoding times show jumps: those of showing go back and forth where frames are predicted
        # from later ones.
        at = packet.dts * packet.time_base
        shown = at if packet.pts is None else packet.pts * packet.time_base
        steady = packet.stream.type in STEADY
        if track.at is not None:
            before = track.stretch
            self._move(track, at, shown, steady)
            if track.stretch is before and at > track.at:
                track.lasts = at - track.at
        lasts = packet.duration * packet.time_base if packet.duration else track.lasts
        track.at, track.end = at, at + lasts
        if steady:
            track.stretch.reaches(shown, shown + lasts)
        return track.stretch

    def _move(self, track: _Track, at: Fraction, shown: Fraction, steady: bool) -> None:
        """Move a stream to another stretch where time jumps at its next packet."""
        back = track.at is not None and at < track.at - BACK[self._may_jump]
        # A pause of one stream is none of time: others go on.
        end = track.stretch.end
        ahead = self._may_jump and end is not None and at > end + FORWARD
        newest = self._newest
        if track.stretch is not newest:  # another stream has jumped before
            late = newest.length > LAG and newest.is_near(at, LAG)
            if late or ((back or ahead) and newest.is_near(at, FORWARD)):
                gone = track.end + track.stretch.offset
                track.stretch = newest
                if steady:  # time goes back for no stream
                    newest.offset += max(Fraction(0), gone - (at + newest.offset))
                return
        if steady and (back or ahead) and end is not None:
            moved = track.stretch.offset + max(end - shown, track.end - at)
            self._newest = track.stretch = _Stretch(moved)
            self._note("back" if back else "ahead", shown + moved)

    def _note(self, where: str, at: Fraction) -> None:
        self._jumps += 1
        if self._jumps == 1:
            self._first = f"time jumps {where} at {float(at):.2f} s: it goes on from there"
        more = f"; {self._jumps} such jumps in all" if self._jumps > 1 else ""
        self.notes[:] = [self._first + more]


def _start(container: Any, film: Any) -> Fraction:
    """What is taken away from all times: 0 where they begin near it. Files hide what lies before
    0, and take what lies long after it for a pause."""
    if container.start_time is None:
        return Fraction(0)
    start = Fraction(container.start_time, pyav().time_base)
    early = (film.start_time or 0) < 0 or start < -PRIMING
    return start if early or start > LATE else Fraction(0)
