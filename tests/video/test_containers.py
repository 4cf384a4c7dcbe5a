"""What containers hold beside the frames: covers, tags of any name, and all of it in a pipe."""

import io
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from kd_lightning.deploy.backends import Runner
from kd_lightning.errors import UserError
from kd_lightning.video.containers import remedy
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.suffixes import CONTAINERS
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import Clip, packets, times, write

PHONE = {
    "com.apple.quicktime.location.ISO6709": "+40.7-074.0+010/",
    "com.apple.quicktime.make": "Apple",
}
USUAL = {"title": "a clip", "artist": "me", "date": "2021", "comment": "short"}
COVER = av.stream.Disposition.attached_pic


def through(source: Path, target: Any, runner: Runner, encoding: Encoding) -> list[str]:
    """Write `source`, enhanced; returns what could not be written as it was."""
    with Reader(source) as reader, Writer(target, encoding, reader, "out") as writer:
        process(reader, lambda frames: enhanced(runner, frames), writer)
    return writer.notes


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, kind)
    return file.getvalue()


def with_extras(path: Path, cover: str = "", tags: dict[str, str] | None = None) -> Path:
    """A clip with sound and a cover or tags."""
    plain = write(path.with_name(f"plain{path.suffix}"), Clip(audio=1))
    flags = {} if cover else {"movflags": "use_metadata_tags"}
    with av.open(str(plain)) as source, av.open(str(path), "w", options=flags) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        out.metadata.update(tags or {})
        found = [(p, streams[p.stream.index]) for p in source.demux() if p.size]
        if cover and path.suffix == ".mkv":
            out.add_attachment(f"front.{cover}", f"image/{cover}", picture(cover))
        elif cover:
            with av.open(io.BytesIO(picture(cover))) as image:
                stream = out.add_stream_from_template(image.streams[0])
                stream.disposition = COVER
                found = [*((p, stream) for p in image.demux() if p.size), *found]
                for packet, place in found:
                    packet.stream = place
                    out.mux(packet)
            return path
        for packet, place in found:
            packet.stream = place
            out.mux(packet)
    return path


def covers(path: Path) -> list[tuple[bytes, dict[str, str]]]:
    with av.open(str(path)) as file:
        streams = [s for s in file.streams.video if s.disposition & COVER]
        assert len(file.streams.video) == 1 + len(streams)
        found = {p.stream.index: bytes(p) for p in file.demux(streams) if p.size}
        return [(found[s.index], dict(s.metadata)) for s in streams]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("before", [".mp4", ".mkv"])
@pytest.mark.parametrize("after", [".mp4", ".mkv"])
def test_a_cover_stays_a_cover(
    kind: str, before: str, after: str, tmp_path: Path, identity: Runner
) -> None:
    source, target = with_extras(tmp_path / f"in{before}", kind), tmp_path / f"out{after}"
    assert through(source, target, identity, Encoding("h264")) == []
    ((content, said),) = covers(target)
    assert content == picture(kind)
    if after == ".mkv":
        named = f"front.{kind}" if before == ".mkv" else f"cover.{kind.replace('e', '')}"
        assert said == {"filename": named, "mimetype": f"image/{kind}"}


@pytest.mark.parametrize("suffix", [".mov", ".nut"])
def test_a_cover_that_the_container_cannot_hold_is_named_as_left_out(
    suffix: str, tmp_path: Path, identity: Runner
) -> None:
    source, target = with_extras(tmp_path / "in.mkv", "png"), tmp_path / f"out{suffix}"
    (note,) = through(source, target, identity, Encoding("h264"))
    assert note == (
        "the picture beside the film (stream 2, png) is left out: a file of "
        f"{suffix[1:]} cannot hold it"
    )
    assert covers(target) == []
    assert len(packets(target, "audio")) == 1


def test_a_container_is_named_as_a_remedy_only_where_it_holds_all(tmp_path: Path) -> None:
    """Two subtitles, one of which Matroska cannot hold, the other MP4."""
    (tmp_path / "lines.srt").write_text("1\n00:00:00,010 --> 00:00:00,150\none\n")
    with av.open(str(tmp_path / "lines.srt")) as text, av.open(io.BytesIO(), "w", "mp4") as out:
        subrip = text.streams[0]
        mov_text = out.add_stream("mov_text")
        assert remedy([subrip]) == "write .mkv"
        assert remedy([mov_text]) == "write .mp4"
        assert remedy([subrip, mov_text]) == "convert it first, with ffmpeg"


@pytest.mark.parametrize("suffix", list(CONTAINERS))
@pytest.mark.parametrize("sound", ["aac", "libopus", "flac", "pcm_s16le", "libmp3lame", "ac3"])
def test_sound_is_copied_or_refused_with_a_container_that_holds_it(
    sound: str, suffix: str, tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.mkv", Clip(audio=1, sound=sound))
    target = tmp_path / f"out{suffix}"
    try:
        through(source, target, identity, Encoding())
    except UserError as error:
        found = re.search(r"cannot hold the audio stream 1 \(\w+\); write (\.\w+)$", str(error))
        assert found, error
        target = tmp_path / f"remedy{found[1]}"
        through(source, target, identity, Encoding())
    (copied,), (sounds,) = packets(target, "audio"), packets(source, "audio")
    for (_, ours), (_, theirs) in zip(copied, sounds, strict=True):
        assert (
            ours.endswith(theirs) if target.suffix == ".ts" else ours == theirs
        )  # its own headers


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_tags_of_a_phone_are_kept_beside_the_usual_ones(
    suffix: str, tmp_path: Path, identity: Runner
) -> None:
    source = with_extras(tmp_path / "in.mov", tags=PHONE | USUAL)
    target = tmp_path / f"out{suffix}"
    assert through(source, target, identity, Encoding("h264")) == []
    with av.open(str(target)) as file:
        assert PHONE.items() | USUAL.items() <= dict(file.metadata).items()
        assert file.metadata["major_brand"] == {".mp4": "isom", ".mov": "qt  "}[suffix]


@pytest.mark.parametrize("suffix", list(CONTAINERS))
def test_tags_are_kept_or_named_as_left_out(suffix: str, tmp_path: Path, identity: Runner) -> None:
    source = write(tmp_path / "plain.mkv", Clip())
    tagged, target = tmp_path / "in.mkv", tmp_path / f"out{suffix}"
    with av.open(str(source)) as plain, av.open(str(tagged), "w") as out:
        stream = out.add_stream_from_template(plain.streams[0])
        out.metadata.update(USUAL)
        out.set_chapters([{"id": 1, "start": 0, "end": 100, "time_base": Fraction(1, 600)}])
        for packet in plain.demux():
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    notes = through(tagged, target, identity, Encoding())
    with av.open(str(target)) as file:
        written = {key.lower(): value for key, value in file.metadata.items()}
        lost = [key for key, value in USUAL.items() if written.get(key) != value]
        if suffix == ".ts" and USUAL["title"].encode() in target.read_bytes():
            lost.remove("title")  # it is the service's name
        lost += [] if len(file.chapters()) == 1 else ["chapters"]
    named = [word for note in notes for word in re.findall(r"\w+", note.partition(";")[0].lower())]
    assert sorted(lost) == sorted(word for word in named if word not in ("left", "out"))


@pytest.mark.parametrize("beside", [{}, {"TIMECODE": "01:00:00:00"}])
def test_usual_tags_stay_where_all_players_look_for_them(
    beside: dict[str, str], tmp_path: Path, identity: Runner
) -> None:
    """A timecode becomes a stream, and is no reason to write tags in another way."""
    source, target = with_extras(tmp_path / "in.mkv", tags=USUAL | beside), tmp_path / "out.mp4"
    assert through(source, target, identity, Encoding("h264")) == []
    assert b"\xa9nam" in target.read_bytes()
    with av.open(str(target)) as file:
        assert USUAL.items() <= dict(file.metadata).items()


def test_tags_that_cannot_be_said_beside_a_cover_are_named(
    tmp_path: Path, identity: Runner
) -> None:
    source = with_extras(tmp_path / "in.mkv", "png", {"DIRECTOR": "her", "title": "a clip"})
    (note,) = through(source, tmp_path / "out.mp4", identity, Encoding("h264"))
    assert note == "left out: DIRECTOR; mp4 has no place beside a picture"
    assert len(covers(tmp_path / "out.mp4")) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_an_attached_font_is_kept_or_named(suffix: str, tmp_path: Path, identity: Runner) -> None:
    plain = write(tmp_path / "plain.mkv", Clip())
    with av.open(str(plain)) as clip, av.open(str(tmp_path / "in.mkv"), "w") as out:
        copy = out.add_stream_from_template(clip.streams.video[0])
        out.add_attachment("font.ttf", "application/x-truetype-font", b"a font")
        for packet in clip.demux():
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    target = tmp_path / f"out{suffix}"
    notes = through(tmp_path / "in.mkv", target, identity, Encoding("h264"))
    with av.open(str(target)) as file:
        kept = [s.metadata["filename"] for s in file.streams if s.type == "attachment"]
    if suffix == ".mkv":
        assert (kept, notes) == (["font.ttf"], [])
    else:
        (note,) = notes
        assert kept == [] and note.startswith("the attached file (stream 1, font.ttf) is left out")


class Pipe:
    """What can be written alone."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


@pytest.mark.parametrize("container", ["mp4", "mov"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_mp4_goes_into_a_pipe_with_all_frames_times_and_sound(
    container: str, codec: str, tmp_path: Path, identity: Runner
) -> None:
    moments = (0, 20, 30, 90, 95, 200, *range(220, 1200, 20))
    source = write(tmp_path / "in.mp4", Clip(audio=1, times=moments))
    through(source, pipe := Pipe(), identity, Encoding(codec, container=container))
    target = tmp_path / f"out.{container}"
    target.write_bytes(pipe.content)
    assert times(target) == pytest.approx(times(source), abs=1e-4)
    assert packets(target, "audio") == packets(source, "audio")
    with Reader(target) as reader:
        assert len(list(reader)) == len(moments)
        assert reader.problems == []


def test_mp4_is_read_from_the_pipe_into_which_it_goes(tmp_path: Path, identity: Runner) -> None:
    source = with_extras(tmp_path / "in.mp4", "png", USUAL)
    (note,) = through(source, pipe := Pipe(), identity, Encoding(container="mp4"))
    assert "a stream of mp4 cannot hold it" in note
    code = (
        "import sys, av\n"
        "with av.open('pipe:0') as file:\n"
        "    print([s.type for s in file.streams], sum(1 for _ in file.decode(video=0)))\n"
    )
    read = subprocess.run(
        [sys.executable, "-c", code], input=pipe.content, capture_output=True, timeout=60
    )
    assert read.stdout.decode().strip() == "['video', 'audio'] 10"
