"""What lies beside the frames: sound, subtitles, chapters, rotation, names; and the times."""

from contextlib import ExitStack
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from kd_lightning.deploy.backends import Runner
from kd_lightning.errors import UserError
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import TICK, Clip, Track, packets, picture, times, write
from tests.video.test_matrix import through

ENDING = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "mpegts": ".ts"}
CELL, SOUND = 188, 0x101  # bytes of a transport stream's cells; PID of its second stream
SUBTITLES = """1
00:00:00,010 --> 00:00:00,150
one

2
00:00:00,200 --> 00:00:00,320
two
"""


def rich_clip(path: Path) -> Path:
    """Two tracks of sound, subtitles, an attached font, chapters, names."""
    plain, lines = write(path.with_name("plain.mkv"), Clip(audio=2)), path.with_name("lines.srt")
    lines.write_text(SUBTITLES)
    with av.open(str(plain)) as source, av.open(str(lines)) as text, av.open(str(path), "w") as out:
        out.metadata["title"] = "a clip"
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for index, stream in streams.items():
            stream.metadata.update(source.streams[index].metadata)
        captions = out.add_stream_from_template(text.streams[0])
        captions.metadata["language"] = "eng"
        out.add_attachment("font.ttf", "application/x-truetype-font", b"a font")
        out.set_chapters(
            [
                {"id": n, "start": 150 * n, "end": 150 * (n + 1), "time_base": Fraction(1, 1000),
                 "metadata": {"title": name}}
                for n, name in enumerate(("first", "second"))
            ]
        )  # fmt: skip
        everything = [(p, streams[p.stream.index]) for p in source.demux() if p.size]
        for packet, stream in everything + [(p, captions) for p in text.demux() if p.size]:
            packet.stream = stream
            out.mux(packet)
    return path


def described(path: Path) -> list[tuple[str, str, Any]]:
    with av.open(str(path)) as file:
        return [
            (s.type, s.metadata.get("language", ""), s.disposition)
            for s in file.streams
            if s.type != "video"
        ]


def test_sound_subtitles_attachments_and_chapters_are_copied_bit_for_bit(
    tmp_path: Path, identity: Runner
) -> None:
    source, target = rich_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    assert through(source, target, identity, "h264") == []
    for kind, streams in (("audio", 2), ("subtitle", 1)):
        before, after = packets(source, kind), packets(target, kind)
        assert len(after) == streams
        assert before == after
    assert sorted(described(target)) == sorted(described(source))
    with av.open(str(source)) as one, av.open(str(target)) as other:
        assert other.chapters() == one.chapters()
        assert [c["metadata"]["title"] for c in other.chapters()] == ["first", "second"]
        assert other.metadata["title"] == "a clip"


def test_a_stream_that_the_container_cannot_hold_is_one_line(
    tmp_path: Path, identity: Runner
) -> None:
    source = rich_clip(tmp_path / "in.mkv")
    with pytest.raises(UserError, match=r"mp4 cannot hold the subtitle stream .*; write \.mkv$"):
        through(source, tmp_path / "out.mp4", identity, "h264")
    assert not (tmp_path / "out.mp4").exists()


def with_data(path: Path) -> Path:
    """A stream of telemetry beside the frames."""
    plain = write(path.with_name("plain.ts"))
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        video, data = out.add_stream_from_template(source.streams.video[0]), out.add_data_stream()
        for number, packet in enumerate(p for p in source.demux() if p.size):
            record = av.Packet(bytes([number]) * 20)
            record.pts = record.dts = packet.dts
            record.time_base = packet.time_base
            for each, stream in ((packet, video), (record, data)):
                each.stream = stream
                out.mux(each)
    return path


def test_a_data_stream_is_copied_where_the_container_takes_it_and_else_named(
    tmp_path: Path, identity: Runner
) -> None:
    source = with_data(tmp_path / "in.ts")
    for suffix, kept in ((".ts", True), (".mkv", False), (".mp4", False)):
        target = tmp_path / f"out{suffix}"
        with Reader(source) as reader, Writer(target, Encoding("h264"), reader) as writer:
            process(reader, lambda frames: enhanced(identity, frames), writer)
        before, after = ([c for s in packets(p, "data") for _, c in s] for p in (source, target))
        assert len(before) == 10
        assert after == (before if kept else [])
        named = ["the data (stream 1, bin_data) is left out: "]
        assert [note[: len(named[0])] for note in writer.notes] == ([] if kept else named)


def test_a_timecode_is_kept_by_containers_that_say_it_beside_the_frames(
    tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.mov", Clip(timecode="01:02:03:04"))
    with av.open(str(source)) as file:
        assert [stream.type for stream in file.streams] == ["video", "data"]
    for suffix in (".mov", ".mkv"):
        target = tmp_path / f"out{suffix}"
        with Reader(source) as reader, Writer(target, Encoding("h264"), reader) as writer:
            process(reader, lambda frames: enhanced(identity, frames), writer)
        assert writer.notes == []
        with av.open(str(target)) as file:
            said = {key.lower(): value for key, value in file.streams.video[0].metadata.items()}
        assert said["timecode"] == "01:02:03:04"


def test_closed_captions_inside_the_video_are_named_as_left_out(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.264", container="h264").read_bytes()
    captions = b"\xb5\0\x31GA94\x03\x41\xff\xfc\x80\x80\xff"  # ATSC A/53: one pair of bytes
    message = b"\0\0\0\1\6\4" + bytes([len(captions)]) + captions + b"\x80"
    first_slice = plain.index(b"\0\0\1\x65")
    source = tmp_path / "in.264"
    source.write_bytes(plain[:first_slice] + message + plain[first_slice:])
    for path, expected in (
        (source, ["closed captions inside the video"]),
        (tmp_path / "plain.264", []),
    ):
        with Reader(path) as reader:
            assert len(list(reader)) == 10
            assert reader.left_out == expected


def test_counts_of_the_old_stream_are_not_said_of_the_new_one(
    tmp_path: Path, identity: Runner
) -> None:
    source, target = write(tmp_path / "in.mkv"), tmp_path / "out.nut"
    with av.open(str(source)) as file:
        assert "DURATION" in file.streams.video[0].metadata
    with Reader(source) as reader, Writer(target, Encoding("ffv1"), reader) as writer:
        for frame in islice(reader, 3):  # as an interrupted run does
            writer.write(frame)
    with av.open(str(target)) as file:
        assert "DURATION" not in file.streams.video[0].metadata
    with Reader(target) as reader:
        assert len(list(reader)) == 3
        assert reader.problems == []


@pytest.mark.parametrize("suffix", [".ts", ".nut", ".mov"])
def test_sound_as_it_usually_is_goes_from_a_container_to_the_same(
    suffix: str, tmp_path: Path, identity: Runner
) -> None:
    plain, source = write(tmp_path / "plain.mp4", Clip(audio=1)), tmp_path / f"in{suffix}"
    with av.open(str(plain)) as file, av.open(str(source), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in file.streams}
        for packet in (p for p in file.demux() if p.size):
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    target = tmp_path / f"out{suffix}"
    assert through(source, target, identity, "h264") == []
    (before,), (after,) = packets(source, "audio"), packets(target, "audio")
    assert [content for _, content in after] == [content for _, content in before]


@pytest.mark.parametrize("lost", [0, 2], ids=["", "begins within a packet"])
@pytest.mark.parametrize("sound", ["aac", "ac3", "eac3", "libmp3lame", "libopus"])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts"])
@pytest.mark.parametrize("whole", [True, False], ids=["file", "stream"])
def test_sound_of_a_transport_stream_is_heard_alike_in_files_and_streams(
    whole: bool, container: str, sound: str, lost: int, tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.ts", Clip(audio=1, sound=sound, times=range(0, 600, 20)))
    without_cells(source, SOUND, lost)
    target = tmp_path / f"out{ENDING[container]}"
    encoding = Encoding("h264", container=container)
    with ExitStack() as stack:
        output = target if whole else stack.enter_context(target.open("wb"))
        if container == "mov" and sound == "libopus":
            with pytest.raises(UserError, match="mov cannot hold the audio stream 1"):
                write_through(source, output, encoding, identity)
            return
        write_through(source, output, encoding, identity)
    before, after = heard(source), heard(target)
    assert len(before) > 20000
    np.testing.assert_array_equal(after, before)


def without_cells(path: Path, stream: int, count: int) -> None:
    """Take the first `count` cells of one stream (its PID) out of a transport stream."""
    cells = [path.read_bytes()[at : at + CELL] for at in range(0, path.stat().st_size, CELL)]
    of_it = [cell for cell in cells if int.from_bytes(cell[1:3], "big") & 0x1FFF == stream]
    lost = of_it[:count]
    path.write_bytes(b"".join(cell for cell in cells if cell not in lost))


def write_through(source: Path, output: Any, encoding: Encoding, runner: Runner) -> None:
    with Reader(source) as reader, Writer(output, encoding, reader) as writer:
        process(reader, lambda frames: enhanced(runner, frames), writer)


def heard(path: Path) -> np.ndarray:
    """The samples of its one stream of sound."""
    with av.open(str(path)) as file:
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_rotation_is_kept_as_it_is_said(
    rotation: int, suffix: str, tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.mp4", Clip(rotation=rotation, times=(0, 20)))
    target = tmp_path / f"out{suffix}"
    through(source, target, identity, "h264")
    with Reader(source) as before, Reader(target) as after:
        assert after.info.rotation == before.info.rotation is not None
        assert (after.info.height, after.info.width) == (48, 64)


def test_the_aspect_of_pixels_is_kept(tmp_path: Path, identity: Runner) -> None:
    source = write(tmp_path / "in.mp4", Clip(aspect=Fraction(16, 11), times=(0, 20)))
    for suffix in (".mp4", ".mkv", ".ts"):
        target = tmp_path / f"out{suffix}"
        through(source, target, identity, "h264")
        with Reader(target) as after:
            assert after.info.aspect == Fraction(16, 11)


def test_sound_and_pictures_stay_together_for_ten_minutes_of_a_variable_rate(
    tmp_path: Path, identity: Runner
) -> None:
    # 30000/1001 frames a second with gaps: what counting frames would shift by seconds.
    chosen = np.random.default_rng(3).choice(20000, 300, replace=False)
    moments = sorted({0, *(int(n * 1001 / 50) for n in chosen if n < 17982)})
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w") as file:
        video = file.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        video.width, video.height = 32, 24
        video.codec_context.time_base = TICK
        track = Track(file, 0)
        for number, moment in enumerate(moments):
            frame = picture(Clip(), number)
            frame.pts, frame.time_base = moment, TICK
            file.mux(video.encode(frame))
            if number % 30 == 0:
                file.mux(track.until(0.1 + number / 1000))
        for stream in (video, track.stream):
            file.mux(stream.encode(None))
    through(source, target, identity, "h264")
    assert times(target)[-1] > 590
    assert times(target) == pytest.approx(times(source), abs=1e-4)
    (before,), (after,) = packets(source, "audio"), packets(target, "audio")
    assert [content for _, content in after] == [content for _, content in before]
    assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=1e-4)


def test_a_stream_without_times_gets_those_of_its_rate(tmp_path: Path, identity: Runner) -> None:
    source = write(tmp_path / "in.264", container="h264")
    target = tmp_path / "out.mp4"
    through(source, target, identity, "h264")
    found = times(target)
    assert len(found) == 10
    assert np.diff(found) == pytest.approx(np.full(9, found[1] - found[0]), abs=1e-3)
