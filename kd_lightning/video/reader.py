"""Reading a video: its frames in the order in which they are shown, and all else as it is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import IOBase
from pathlib import Path
from typing import Any, BinaryIO, Literal

from kd_lightning.errors import UserError
from kd_lightning.video.clock import Clock
from kd_lightning.video.closing import Closing
from kd_lightning.video.formats import (
    frame_color,
    image_of,
    pyav,
    refuse,
)
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.kinds import change, unreadable
from kd_lightning.video.length import promised_end, stated_seconds
from kd_lightning.video.opening import film_of, open_container, reason
from kd_lightning.video.orientation import display_matrix
from kd_lightning.video.rate import STEPS, guessed_rate, measured_rate, stated_rate

OnError = Literal["stop", "skip"]
PIPE = "pipe:0"  # FFmpeg's name of standard input
COPIED = ("audio", "subtitle", "attachment", "data")
# Matroska's statistics of a stream, and which program coded it.
COUNTS = re.compile("(DURATION|ENCODER|BPS|NUMBER_OF_|_STATISTICS_)", re.IGNORECASE)
# Which kinds of MP4 a file is, which the next one says of itself.
BRANDS = ("major_brand", "minor_version", "compatible_brands")
# What frames may carry beside their pixels, as PyAV names it, and no encoder here is given.
LEFT_OUT = {
    "A53_CC": "closed captions inside the video",
    "SPHERICAL": "the projection of a spherical video",
    "STEREO3D": "the stereo layout",
}


@dataclass(frozen=True)
class Info:
    """What a video says of itself.

    Attributes:
        height, width: of a frame, as it is stored.
        rate: frames a second, on average.
        time_base: seconds.
        seconds: how long it is; None where it does not say.
        color: of its frames.
        aspect: width of a pixel divided by its height; None where it does not say.
        rotation: the display matrix, 9 integers as FFmpeg has it; None for upright videos.
        format: FFmpeg's name of the pixel format.
    """

    height: int
    width: int
    rate: Fraction
    time_base: Fraction
    seconds: float | None
    color: Color
    aspect: Fraction | None
    rotation: tuple[int, ...] | None
    format: str


class Reader(Closing):
    """The first video stream of a file: an iterable of `Frame`, to be iterated once.

        with Reader("clip.mp4") as reader:
            for frame in reader: ...

    Args:
        source: a path, a URL that FFmpeg knows, a binary stream, or a live source's `av` container:
            its frames are decoded without delay.
        shown: how messages name it; None for `source`.
        container: FFmpeg's name of the container, for streams that do not show it.
        on_error: what a damaged packet, or a frame of another size or kind, does: it ends the
            video, or is left out. Either way a line of `problems` says so.
        any_size: give frames of another size or kind than the first as they are, too.

    Attributes:
        copied: the streams beside the frames.
        left_out: what of the file neither frames nor `copied` hold, for people.
        notes: likewise, where its times are not those of the file: see `Clock`.

    Raises:
        UserError: not a video, or one whose frames cannot be restored as they are: more than 8
            bits, HDR, interlaced, alpha. One line with the remedy.
    """

    def __init__(
        self,
        source: str | Path | BinaryIO | Any,
        shown: str | None = None,
        container: str | None = None,
        on_error: OnError = "stop",
        any_size: bool = False,
    ) -> None:
        self.shown = shown or str(source)
        self.problems: list[str] = []
        self.left_out: list[str] = []
        self._skip, self._any_size = on_error == "skip", any_size
        self._damaged = 0
        self._last: int | None = None
        self._av = pyav()
        self._container = open_container(source, self.shown, container)
        self._forward = self._container.name == PIPE or _goes_forward(source)
        self._stream = film_of(self._container, self.shown)
        self._clock = Clock(self._container, self._stream)
        self.notes = self._clock.notes
        live = source is self._container  # decoding several frames at once would delay each
        self._stream.thread_type = "SLICE" if live else "AUTO"
        others = [s for s in self._container.streams if s is not self._stream]
        self.copied = [s for s in others if s.type in (*COPIED, "video")]
        self.left_out += [f"stream {s.index}" for s in others if s not in self.copied]
        stated = stated_rate(self._stream)
        self._rate = stated or guessed_rate(self._stream)
        self._decoded = self._decode()
        self._waiting = list(self._until_first_frame())
        if not stated:
            self._rate = self._measure()
        self.info = self._describe()

    def close(self) -> None:
        """Does nothing while a thread still reads or decodes, which it must not lose hold of."""
        if inspect.getgeneratorstate(self._decoded) != inspect.GEN_RUNNING:
            self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        return (item for item in self.items() if isinstance(item, Frame))

    def items(self) -> Iterator[Any]:
        """The frames, and the `av.Packet`s of `copied` streams, as they lie in the file."""
        yield from self._waiting
        self._waiting = []
        yield from self._decoded
        self._note_missing_end()

    @property
    def chapters(self) -> list[dict[str, Any]]:
        """As `av` has them."""
        found: list[dict[str, Any]] = self._container.chapters()
        for chapter in found:
            ticks = round(self._clock.offset / chapter["time_base"])
            chapter["start"], chapter["end"] = chapter["start"] + ticks, chapter["end"] + ticks
        return found

    @property
    def metadata(self) -> dict[str, str]:
        """Of the file: title, date, ..."""
        said: dict[str, str] = self._container.metadata
        return {key: value for key, value in said.items() if key.lower() not in BRANDS}

    @property
    def stream_metadata(self) -> dict[str, str]:
        """Of the video stream: language, ...; not what counts its packets, which will be others."""
        said: dict[str, str] = self._stream.metadata
        return {key: value for key, value in said.items() if not COUNTS.match(key)}

    def _until_first_frame(self) -> Iterator[Any]:
        """What lies before the first frame, and that."""
        for item in self._decoded:
            yield item
            if isinstance(item, Frame):
                return
        trouble = self.problems[0] if self.problems else "holds no frames"
        if "mp4" in self._container.format.name and self._forward and not self._damaged:
            trouble = (
                "cannot be rewound, and the index of this video lies at its end: name the file, or "
                "redirect it (< FILE)"
            )
        raise UserError(f"{self.shown}: {trouble}")

    def _describe(self) -> Info:
        first, stream = self._first, self._stream
        return Info(
            first.height,
            first.width,
            self._rate,
            stream.time_base,
            stated_seconds(self._container, stream),
            frame_color(first),
            stream.sample_aspect_ratio or None,
            display_matrix(first),
            first.format.name,
        )

    def _measure(self) -> Fraction:
        """The rate of the first frames, which then wait."""
        times = [item.pts * item.time_base for item in self._waiting if isinstance(item, Frame)]
        while len(times) <= STEPS and (item := next(self._decoded, None)) is not None:
            self._waiting.append(item)
            if isinstance(item, Frame):
                times.append(item.pts * item.time_base)
        return measured_rate(times, self._rate)

    def _decode(self) -> Generator[Any, None, None]:
        shown, stays = None, -1
        for packet in self._packets():
            if packet.stream is not self._stream:
                if packet.dts is not None or packet.size:
                    yield packet
                continue
            if not packet.size and packet.dts is not None:
                # The frame before, once more; decoders take it for the end.
                stays = packet.dts if packet.pts is None else packet.pts
                continue
            try:
                frames = packet.decode()
            except self._av.error.FFmpegError as error:
                if self._ends(f"damaged data ({reason(error)})", packet):
                    return
                continue
            for frame in frames:
                trouble = "damaged data" if frame.is_corrupt else self._other_kind(frame)
                if trouble:
                    if self._ends(trouble, frame):
                        return
                    continue
                shown = frame
                yield self._frame(frame)
        if shown and stays > (self._last or 0):  # else the video would end where it last moved
            shown.pts = stays
            yield self._frame(shown)

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux([self._stream, *self.copied])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.error.FFmpegError as error:
                self._note(f"ends in damaged data ({reason(error)})")
                return
            self._clock.set(packet)
            yield packet

    def _other_kind(self, frame: Any) -> str:
        """What makes `frame` other than the first; the first is refused where it must be."""
        if self._last is None:
            refuse(frame, self.shown)
            self._first = frame
            return ""
        if self._any_size:
            return unreadable(frame, self.shown)
        return change(self._first, frame, self.shown)

    def _ends(self, trouble: str, where: Any) -> bool:
        """Whether `trouble`, of a packet or frame, ends the video."""
        at = where.pts if where.pts is not None else where.dts
        place = "" if at is None else f" at {float(at * where.time_base):.2f} s"
        self._damaged += 1
        if not self._skip:
            self._note(f"{trouble}{place}: the output ends there; see --on-error skip")
        elif self._damaged == 1:
            self._note(f"{trouble}{place}: left out")
        else:
            self.problems[1:] = [f"{self._damaged} frames or packets left out in all"]
        return not self._skip

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _frame(self, frame: Any) -> Frame:
        pts = frame.pts
        step = max(1, round(1 / (self._rate * frame.time_base)))
        if pts is None:
            pts = 0 if self._last is None else self._last + step
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
        self._last = pts
        self._end = pts + (frame.duration or step)
        for data in frame.side_data:
            what = LEFT_OUT.get(data.type.name)
            if what and what not in self.left_out:
                self.left_out.append(what)
        return Frame(image_of(frame), pts, frame.time_base, frame.duration or 0, frame_color(frame))

    def _note_missing_end(self) -> None:
        """Says where the file promised more frames than there were."""
        promised = promised_end(self._container, self._stream, self._rate, not self.copied)
        if self.problems or self.notes or promised is None:  # durations do not count jumps
            return
        end, tolerated = promised
        end += float(self._clock.offset)
        last = float(self._end * self._stream.time_base)
        if end - last > tolerated:
            self._note(f"ends at {last:.2f} s, {end - last:.2f} s before it should")


def _goes_forward(source: Any) -> bool:
    """Whether a stream cannot be rewound; others that are read can be, or are not asked."""
    return isinstance(source, IOBase) and not source.seekable()
