"""Writing a video: frames through an encoder, and beside them what is copied from its source."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from kd_lightning.errors import UserError
from kd_lightning.files import replacing_path
from kd_lightning.video.beside import Beside, Copy, container_options
from kd_lightning.video.codecs import CODECS, DEFAULT_CODECS, Codec, check_quality
from kd_lightning.video.containers import MOV, holds_frames
from kd_lightning.video.formats import (
    FULL_RANGE,
    GREY,
    MATRIX_CODES,
    RGB,
    RGB_MATRIX,
    pyav,
)
from kd_lightning.video.frame import Color, Frame
from kd_lightning.video.rate import FASTEST, USUAL
from kd_lightning.video.reader import Info, Reader
from kd_lightning.video.scheduling import ordinary_scheduling
from kd_lightning.video.suffixes import CONTAINERS
from kd_lightning.yuv import Yuv, matrix_of_size, rgb_to_yuv, views

LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG
LOSSLESS_RGB = "bgr0"  # as FFV1 takes it
ASPECT = MOV  # containers that hold the aspect of a pixel for codecs that do not
ROTATABLE = ("mp4", "mov", "matroska")  # containers that hold a display matrix


@dataclass(frozen=True)
class Encoding:
    """How a video is written.

    Attributes:
        codec: one of `formats.CODECS`; None for what the container is usually written with.
        crf: constant quality, less is better; None for the codec's own.
        container: FFmpeg's name; None for that of the file's suffix.
    """

    codec: str | None = None
    crf: int | None = None
    container: str | None = None


class Writer:
    """A sink of `Frame`s: the file appears, whole, when it is closed without an error.

        with Writer("out.mp4") as writer:
            writer.write(frame)

    Args:
        target: a path, or a binary stream.
        encoding: see there.
        source: whose audio, subtitles, chapters, rotation, pixel aspect and rate are taken over.
        shown: how messages name it; None for `target`.
        new: a file that exists when this one is whole is not replaced: see `files.replacing`.

    Attributes:
        notes: a line each for what could not be written as it was.
        problems: likewise, for what of the source was damaged beside the frames and is left out.

    Raises:
        UserError: a codec, quality or container that cannot be had, or not together.
    """

    def __init__(
        self,
        target: str | Path | BinaryIO,
        encoding: Encoding = Encoding(),
        source: Reader | None = None,
        shown: str | None = None,
        new: bool = False,
    ) -> None:
        self._new = new
        self._target = Path(target) if isinstance(target, str) else target
        self._shown = shown or str(target)
        self.container, self.codec = choose(self._target, encoding, self._shown)
        self._quality = encoding.crf
        self._source = source
        self._av = pyav()
        self._stack = ExitStack()
        self._output: Any = None
        self._copies: dict[int, Copy] = {}
        self._early: list[Any] = []
        self._in_use = threading.RLock()
        self.notes: list[str] = []
        self.problems: list[str] = []
        self._lost = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._output is not None:
            self._stack.__exit__(kind, error, at)

    def write(self, frame: Frame) -> None:
        """Encode one more frame, of the size of the first and after it in time."""
        with self._in_use:
            if self._output is None:
                self._start(frame)
            picture = self._fill(frame)
            picture.pts, picture.time_base = frame.pts, frame.time_base
            picture.duration = frame.duration
            self._mux(self._stream.encode(picture))

    def copy(self, packet: Any) -> None:
        """Pass on one `av.Packet` of `source`, its content bit for bit."""
        if self._output is None:
            self._early.append(packet)  # the header waits for the first frame
            return
        copy = self._copies.get(packet.stream.index)
        if copy is None:
            return
        index, at = packet.stream.index, packet.pts
        place = "" if at is None else f" at {float(at * packet.time_base):.2f} s"
        errors = self._av.error
        with self._in_use:
            try:
                for each in copy.packets(packet):
                    self._output.mux(each)
            except (errors.InvalidDataError, errors.ArgumentError):
                self._lose(f"a damaged packet of stream {index}{place} is left out")

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        if self._output is None:
            raise UserError(f"{self._shown}: there were no frames to write")
        with self._stack:
            self._mux(self._stream.encode(None))
            self._output.close()

    def _mux(self, packets: list[Any]) -> None:
        """Write packets of frames."""
        for packet in packets:
            try:
                self._output.mux(packet)
            except self._av.error.InvalidDataError:
                if not self._copies:
                    raise  # else it is of a copied packet that has waited for its turn until now
                self._lose("a damaged packet beside the frames is left out")

    def _lose(self, what: str) -> None:
        self._lost += 1
        more = f"{self._lost} packets beside the frames left out in all"
        self.problems[1:] = [more] if self.problems else []
        self.problems = self.problems or [what]

    def _start(self, first: Frame) -> None:
        """Open the file for frames like `first`."""
        place: Any = self._target
        if isinstance(place, Path):
            place = f"file:{self._stack.enter_context(replacing_path(place, new=self._new))}"
        whole, source = isinstance(place, str), self._source
        beside = Beside(source, self.container, self._shown, whole) if source else None
        options = container_options(self.container, whole, beside)
        self._output = self._av.open(place, "w", format=self.container, options=options)
        self._stack.callback(self._abandon)
        self._add_video(first)
        if beside:
            self._copies = beside.add(self._output, self._stream, self._early)
            self.notes += beside.notes
        with ordinary_scheduling():
            self._output.start_encoding()
        early, self._early = self._early, []
        for packet in early:
            self.copy(packet)

    def _abandon(self) -> None:
        """Close the file without its end, after an error; harmless after `close`. Not where a
        thread still writes, which it must not lose hold of."""
        if self._in_use.acquire(blocking=False):
            with suppress(Exception):  # which would hide the error that is the reason
                self._output.close()
            self._in_use.release()

    def _add_video(self, first: Frame) -> None:
        codec, source = self.codec, self._source.info if self._source else None
        height, width = first.size
        if codec.even and (height % 2 or width % 2):
            self.notes.append(
                f"{codec.encoder} codes even sizes: the last row or column of {width}x{height} is "
                "repeated; --codec vp9 keeps the size"
            )
            height, width = height + height % 2, width + width % 2
        options = dict(codec.options)
        if codec.crf is not None:
            options["crf"] = str(codec.crf if self._quality is None else self._quality)
        stream = self._output.add_stream(
            codec.encoder, rate=source.rate if source else USUAL, options=options
        )
        stream.width, stream.height = width, height
        stream.pix_fmt = self._format = pixel_format(codec, first, source)
        if self.codec.encoder == "ffv1" and self.container == "nut" and self._format not in RGB:
            usual = Color(matrix_of_size(height))
            if (first.color.matrix, first.color.full_range) != (usual.matrix, usual.full_range):
                raise UserError(
                    f"{self._shown}: ffv1 in nut cannot say that colours are {first.color.matrix}, "
                    f"{'full' if first.color.full_range else 'limited'} range; write .mkv"
                )
        context = stream.codec_context
        context.time_base = stream.time_base = first.time_base
        color = first.color
        is_rgb = self._format in RGB
        context.colorspace = RGB_MATRIX if is_rgb else MATRIX_CODES[color.matrix]
        context.color_range = FULL_RANGE if color.full_range or is_rgb else LIMITED_RANGE
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        if codec.encoder == "libx265" and self.container in MOV:
            context.codec_tag = "hvc1"  # what Apple's players take
        if codec.encoder == "libsvtav1":
            context.framerate = min(context.framerate, Fraction(FASTEST))  # more it refuses
        if source and source.aspect not in (None, 1):
            if not codec.aspect and self.container not in ASPECT:
                raise UserError(
                    f"{self._shown}: the clip's pixels are not square ({source.aspect}), which "
                    f"{codec.encoder} in {self.container} cannot say; write .mp4, or --codec h264"
                )
            context.sample_aspect_ratio = source.aspect
        if source and source.rotation:
            if self.container not in ROTATABLE:
                raise UserError(
                    f"{self._shown}: the clip is rotated, which {self.container} cannot say; write "
                    ".mp4 or .mkv"
                )
            stream.set_display_matrix(source.rotation)
        if self._source:
            stream.metadata.update(self._source.stream_metadata)
        self._stream = stream
        self._picture = self._av.VideoFrame(width, height, self._format)

    def _fill(self, frame: Frame) -> Any:
        """The `av.VideoFrame` to encode."""
        image, color = frame.image, frame.color
        if self._format in RGB:
            rgb = self._av.VideoFrame.from_ndarray(frame.pixels, "rgb24")
            return rgb.reformat(format=self._format)
        picture = self._picture
        picture.make_writable()  # a copy only where the encoder has kept it
        places = views(picture)
        height, width = frame.size  # at most one less than the encoder's: chroma is of one size
        inside = places._replace(y=places.y[:height, :width])
        if isinstance(image, Yuv):
            for plane, place in zip(image, inside, strict=True):
                place[:] = plane
        else:
            rgb_to_yuv(image, color.matrix, color.full_range, inside)
        places.y[height:, :width] = places.y[height - 1, :width]
        places.y[:, width:] = places.y[:, width - 1 : width]
        return picture


def choose(target: Path | BinaryIO, encoding: Encoding, shown: str) -> tuple[str, Codec]:
    """The container and codec; UserError where they cannot be had, or not together."""
    container = encoding.container
    suffix = target.suffix.lower() if isinstance(target, Path) else ""
    if container is None:
        if suffix not in CONTAINERS:
            raise UserError(
                f"{shown}: cannot tell the container; end the name in {', '.join(CONTAINERS)}, or "
                "give --format"
            )
        container = CONTAINERS[suffix]
    av = pyav()
    try:
        able = av.ContainerFormat(container, "w")
    except ValueError:
        raise UserError(f"--format {container}: FFmpeg writes no such container") from None
    if CONTAINERS.get(suffix, able.name) != able.name:
        raise UserError(
            f"{shown}: --format {container} is not what {suffix} says; leave it out, or give the "
            "name its ending"
        )
    codec = encoding.codec or DEFAULT_CODECS.get(able.name, "h264")
    if codec not in CODECS:
        raise UserError(f"--codec {codec}: choose {', '.join(CODECS)}")
    check_quality(codec, encoding.crf)
    if not holds_frames(able.name, codec):
        fitting = [name for name in CODECS if holds_frames(able.name, name)]
        instead = f"give --codec {' or '.join(fitting)}" if fitting else "take matroska"
        raise UserError(f"{shown}: {able.name} cannot hold {codec}; {instead}")
    return able.name, CODECS[codec]


def pixel_format(codec: Codec, first: Frame, source: Info | None) -> str:
    """4:2:0, but for a lossless codec the most that the source has: 4:4:4 or RGB."""
    kind = source.format if source else "yuv420p" if isinstance(first.image, Yuv) else LOSSLESS_RGB
    if codec.crf is not None or kind in (GREY, "nv12", "nv21") or "420" in kind:
        return "yuv420p"
    return LOSSLESS_RGB if kind in RGB else "yuv444p"
