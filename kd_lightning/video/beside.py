"""What a file holds beside its frames: sound, subtitles, covers, chapters and tags of a source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from kd_lightning.errors import UserError
from kd_lightning.video.containers import (
    ATTACHING,
    ENDINGS,
    FRAGMENTS,
    KEYS,
    MIME_TYPES,
    MOV,
    SERVICE,
    UNTAGGED,
    codec_name,
    holds,
    holds_picture,
    is_picture,
    must_be_held,
    remedy,
    takes,
    unknown_tags,
)
from kd_lightning.video.formats import pyav
from kd_lightning.video.reader import Reader

ADTS = 0xFFF  # the first 12 bits of a packet of AAC in a transport stream


class Copy:
    """A stream of an output that takes over the packets of one of the source's.

    Args:
        source: the `av` stream that they come from.
        stream: the output's.
        container: FFmpeg's name of the output's container.
    """

    def __init__(self, source: Any, stream: Any, container: str) -> None:
        self._stream, self._filter = stream, None
        self._headed = codec_name(source) == "aac" and not source.codec_context.extradata
        if self._headed and container in MOV:  # which has once what transport streams say in each
            self._filter = pyav().bitstream.BitStreamFilterContext("aac_adtstoasc", source)

    def packets(self, packet: Any) -> list[Any]:
        """What the output is given for one `av.Packet` of the source.

        Raises:
            av.error.InvalidDataError: it is damaged.
        """
        if self._headed and int.from_bytes(bytes(packet)[:2], "big") >> 4 != ADTS:
            # Muxers would find it out when they write it, which may be with a later packet.
            raise pyav().error.InvalidDataError(0, "no header of AAC")
        found = self._filter.filter(packet) if self._filter else [packet]
        for each in found:
            each.stream = self._stream
        return found


class Beside:
    """How it goes into one container.

    Args:
        source: whose it is.
        container: FFmpeg's name.
        shown: how messages name the output.
        whole: it becomes a file; else a stream, which nothing rewinds.

    Attributes:
        notes: a line each for what is left out.
    """

    def __init__(self, source: Reader, container: str, shown: str, whole: bool) -> None:
        self._source, self._container = source, container
        self._shown, self._whole = shown, whole
        self.notes: list[str] = []

    def flags(self) -> str:
        """Of MP4 and MOV, for the source's tags: with a leading plus, or empty."""
        unknown = unknown_tags(self._container, self._source.metadata)
        if not unknown:
            return ""
        if any(is_picture(s) and self._holds_picture(s) for s in self._source.copied):
            names = ", ".join(unknown)
            self.notes.append(f"left out: {names}; {self._container} has no place beside a picture")
            return ""
        return f"+{KEYS}"

    def add(self, output: Any, video: Any, early: Iterable[Any]) -> dict[int, Copy]:
        """Add it to the `av` container `output`, whose header is not written yet.

        Args:
            output: see above.
            video: its stream of frames.
            early: the source's packets before the first frame, among which its pictures are.

        Returns:
            The source's index of each stream whose packets are to be copied -> what takes them.

        Raises:
            UserError: a stream that the container cannot hold.
        """
        copies: dict[int, Copy] = {}
        for stream in self._source.copied:
            if is_picture(stream) and not self._takes_picture(stream, output, early):
                continue
            if stream.type == "attachment" and not self._takes_attachment(stream):
                continue
            if stream.type == "data" and not self._takes_data(stream, video):
                continue
            if must_be_held(stream) and not holds(self._container, stream):
                name = codec_name(stream)
                raise UserError(
                    f"{self._shown}: {self._container} cannot hold the {stream.type} stream "
                    f"{stream.index} ({name or 'unknown'}); {remedy(self._source.copied)}"
                )
            copy = output.add_stream_from_template(stream)
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
            copies[stream.index] = Copy(stream, copy, self._container)
        self._describe(output)
        return copies

    def _describe(self, output: Any) -> None:
        """Write the source's chapters and tags; a note names those that have no place."""
        tags, chapters = self._source.metadata, self._source.chapters
        if chapters:
            output.set_chapters(chapters)
        output.metadata.update(tags)
        lost = [key for key in tags if key.lower() not in (*SERVICE, "encoder")]
        lost += ["chapters"] if chapters else []
        if lost and self._container in UNTAGGED:
            self.notes.append(f"left out: {', '.join(lost)}; {self._container} has no place")

    def _holds_picture(self, stream: Any) -> bool:
        """Of an MP4 in fragments, as it is sent to a stream, FFmpeg makes an empty track of it."""
        fragments = self._container in MOV and not self._whole
        return holds_picture(self._container, stream) and not fragments

    def _takes_picture(self, stream: Any, output: Any, early: Iterable[Any]) -> bool:
        """Whether a picture beside the film is to be a stream: in Matroska it is an attached file,
        which is written here. A note says where it is left out."""
        name = codec_name(stream)
        if not self._holds_picture(stream):
            return self._left_out("picture beside the film", name, stream)
        if self._container != "matroska":
            return True
        for packet in early:
            if packet.stream.index == stream.index and packet.size:
                called = stream.metadata.get("filename") or f"cover{ENDINGS[name]}"
                output.add_attachment(called, MIME_TYPES[name], bytes(packet))
        return False

    def _takes_attachment(self, stream: Any) -> bool:
        """Whether the container holds an attached file, such as a font; a note says where not."""
        if self._container in ATTACHING:
            return True
        return self._left_out("attached file", stream.metadata.get("filename"), stream)

    def _takes_data(self, stream: Any, video: Any) -> bool:
        """Whether the container takes a data stream; a note says where it does not."""
        timecode = stream.metadata.get("timecode")
        if timecode and timecode == video.metadata.get("timecode"):
            return False  # the video stream says it as well; .mov makes a stream of that
        if takes(self._container, stream):
            return True
        name = stream.metadata.get("handler_name") or stream.name
        return self._left_out("data", name, stream)

    def _left_out(self, what: str, name: str | None, stream: Any) -> Literal[False]:
        kind = "file" if self._whole else "stream"
        self.notes.append(
            f"the {what} (stream {stream.index}, {name or 'unknown'}) is left out: a {kind} of "
            f"{self._container} cannot hold it"
        )
        return False


def container_options(container: str, whole: bool, beside: Beside | None) -> dict[str, str]:
    """FFmpeg's options of an output, which is a file (`whole`) or a stream."""
    if container not in MOV:
        return {}
    flags = "faststart" if whole else FRAGMENTS
    return {"movflags": flags + (beside.flags() if beside else "")}
