"""What containers hold beside the frames. FFmpeg does not tell most of it, so files without frames
are written and read back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from io import BytesIO
from typing import Any

from kd_lightning.video.codecs import CODECS
from kd_lightning.video.formats import pyav
from kd_lightning.video.scheduling import ordinary_scheduling
from kd_lightning.video.suffixes import CONTAINERS

MOV = ("mp4", "mov")
# Codecs of sound and subtitles that FFmpeg writes into these and does not list.
ALSO = {
    "mpegts": ("aac", "mp2", "mp3", "ac3", "eac3", "dts", "opus", "dvb_subtitle", "dvb_teletext")
}
FILMS = {"mpegts": ("libx264", "libx265")}  # encoders, likewise
REMEDIES = (".mkv", ".mp4", ".nut")  # what holds most, first
# Of pictures, such as covers; Matroska has them as attached files with a name and a type.
MIME_TYPES = {"mjpeg": "image/jpeg", "png": "image/png"}
ENDINGS = {"mjpeg": ".jpg", "png": ".png"}
PICTURED = ("mp4", "matroska")  # containers that hold pictures beside a film
ATTACHING = ("matroska", "webm")  # containers that hold attached files
UNTAGGED = ("mpegts",)  # containers without tags, but for a service's, and without chapters
SERVICE = ("service_name", "service_provider", "title")  # which becomes the service's name
KEYS = "use_metadata_tags"  # FFmpeg's flag for tags under any name, as QuickTime has them
# The header first and then fragments, which need no way back; it waits for the first packets, which
# say when each stream begins.
FRAGMENTS = "frag_keyframe+delay_moov+default_base_moof"


def codec_name(stream: Any) -> str:
    """FFmpeg's name; empty where nothing knows it."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def is_picture(stream: Any) -> bool:
    """Whether a stream is a picture beside the film, such as a cover."""
    flag = pyav().stream.Disposition.attached_pic
    return stream.type == "video" and bool(stream.disposition & flag)


def holds_picture(container: str, stream: Any) -> bool:
    """Whether the container holds a picture beside the film as such."""
    return container in PICTURED and codec_name(stream) in MIME_TYPES


@cache  # each of many clips asks, and again when it is written
def holds_frames(container: str, name: str) -> bool:
    """Whether the container can hold frames of that codec, of CODECS: mpegts takes all, and much
    of it nothing reads again."""
    av, codec = pyav(), CODECS[name]
    if av.ContainerFormat(container, "w").no_file:
        return False  # it writes files of its own, wherever it is
    os.environ.setdefault("SVT_LOG", "1")  # of libsvtav1: errors alone, or it says twenty lines
    trial = av.open(BytesIO(), "w", format=container)
    if codec.encoder not in {*trial.supported_codecs, *FILMS.get(container, ())}:
        return False
    try:
        stream = trial.add_stream(codec.encoder, rate=30, options=codec.options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        with ordinary_scheduling():
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def holds(container: str, stream: Any) -> bool:
    """Whether the container can hold sound or subtitles: some that FFmpeg lists it then refuses."""
    empty = pyav().open(BytesIO(), "w", format=container)
    listed = {*empty.supported_codecs, *ALSO.get(container, ())}
    return codec_name(stream) in listed and takes(container, stream)


def remedy(streams: Iterable[Any]) -> str:
    """Which container holds all of `streams` that are refused where they cannot be held."""
    needed = [stream for stream in streams if must_be_held(stream)]
    able = [s for s in REMEDIES if all(holds(CONTAINERS[s], stream) for stream in needed)]
    return f"write {able[0]}" if able else "convert it first, with ffmpeg"


def must_be_held(stream: Any) -> bool:
    """Whether a container is refused that cannot hold the stream; others are left out."""
    return stream.type not in ("data", "attachment") and not is_picture(stream)


def takes(container: str, stream: Any) -> bool:
    """Whether a container takes a stream, tried on the header of a file with it alone."""
    av = pyav()
    trial = av.open(BytesIO(), "w", format=container)
    try:
        trial.add_stream_from_template(stream)
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def unknown_tags(container: str, metadata: Mapping[str, str]) -> list[str]:
    """The keys of `metadata` that mp4 and mov leave out unless `KEYS` is set, tried on a file
    without frames."""
    if container not in MOV or not metadata:
        return []
    av, file = pyav(), BytesIO()
    with av.open(file, "w", format=container, options={"movflags": "empty_moov"}) as trial:
        video = trial.add_stream("mpeg4", rate=30)
        video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
        trial.metadata.update(metadata)
        trial.start_encoding()
    file.seek(0)
    with av.open(file, metadata_errors="ignore") as written:
        known = {key.lower() for key in written.metadata}
    known.add("timecode")  # which becomes a stream
    return [key for key, value in metadata.items() if value and key.lower() not in known]
