"""Damaged, cut and changing files: one clear line, and what can be saved is saved as asked."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from kd_lightning.deploy.backends import Runner
from kd_lightning.errors import UserError
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import OnError, Reader
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import Clip, times, write

LONG = Clip(times=range(0, 1200, 20), options={"g": "10", "preset": "ultrafast"}, audio=1)


def saved(source: Path, target: Path, runner: Runner, on_error: OnError) -> list[str]:
    with (
        Reader(source, on_error=on_error) as reader,
        Writer(target, Encoding("h264"), reader) as writer,
    ):
        process(reader, lambda frames: enhanced(runner, frames), writer)
        return reader.problems


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def scratched(path: Path) -> None:
    """Zeros in the middle of the 30th video packet and the two after it."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        found = [packet for packet in file.demux(video=0) if packet.size]
    for packet in found[30:33]:
        start = packet.pos + packet.size // 4
        content[start : packet.pos + packet.size] = b"\0" * (packet.size - packet.size // 4)
    path.write_bytes(content)


def grows(path: Path) -> None:
    """The second half is a clip of another size."""
    other = write(path.with_name("other.ts"), Clip(height=48, width=64, times=range(0, 600, 20)))
    path.write_bytes(path.read_bytes() + other.read_bytes())


def test_packets_without_content_which_say_that_a_frame_stays_are_no_damage(
    tmp_path: Path, identity: Runner
) -> None:
    """As Theora writes each frame that is like the one before."""
    plain, source = write(tmp_path / "in.avi", Clip("mpeg4")), tmp_path / "in.nut"
    with av.open(str(plain)) as file, av.open(str(source), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        moving = [packet for packet in file.demux(video=0) if packet.size]
        still = [None] * 100
        order = [*moving[:4], None, *moving[4:7], None, *moving[7:], *still]
        for number, packet in enumerate(order):
            each = packet or av.Packet(b"")
            each.pts = each.dts = number
            each.time_base, each.stream = moving[0].time_base, stream
            out.mux(each)
    assert saved(source, tmp_path / "out.mp4", identity, "stop") == []
    found = times(tmp_path / "out.mp4")
    assert len(found) == 11  # at the end the last one again, when it was last said to stay
    expected = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 111]
    assert found == pytest.approx(np.array(expected) * (found[1] - found[0]), abs=2e-2)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(
    ("name", "damage", "line"),
    [
        ("in.mkv", cut, "ends|damaged"),
        ("in.ts", grows, "size changes from 32x24 to 64x48"),
        ("in.mp4", scratched, "damaged data"),
    ],
)
def test_what_could_be_read_is_saved_and_one_line_says_what_could_not(
    name: str,
    damage: Callable[[Path], None],
    line: str,
    on_error: OnError,
    tmp_path: Path,
    identity: Runner,
) -> None:
    source, target = write(tmp_path / name, LONG), tmp_path / "out.mp4"
    damage(source)
    problems = saved(source, target, identity, on_error)
    assert 1 <= len(problems) <= 2
    assert np.any([part in problems[0] for part in line.split("|")])
    count = len(times(target))
    assert 20 <= count <= 60
    if damage is scratched:
        assert (count >= 50) if on_error == "skip" else (count <= 31)


def test_the_last_frame_that_is_missing_is_missed(tmp_path: Path, identity: Runner) -> None:
    source = write(tmp_path / "in.mp4", Clip(options={"bf": "0"}))
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as file:
        last = [packet for packet in file.demux(video=0) if packet.size][-1]
    content[last.pos : last.pos + last.size] = b"\0" * last.size
    source.write_bytes(content)
    problems = saved(source, tmp_path / "out.mp4", identity, "stop")
    assert len(problems) == 1
    assert len(times(tmp_path / "out.mp4")) == 9


def test_a_file_without_duration_is_no_problem(tmp_path: Path, identity: Runner) -> None:
    source = write(tmp_path / "in.264", container="h264")
    with Reader(source) as reader:
        assert reader.info.seconds is None
    assert saved(source, tmp_path / "out.mp4", identity, "stop") == []


def test_a_file_that_ends_in_its_header_is_refused_in_one_line(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv", "ts"):
        source = write(tmp_path / f"in.{suffix}")
        source.write_bytes(source.read_bytes()[:200])
        with pytest.raises(UserError, match=rf"in\.{suffix}") as caught:
            Reader(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_any_flipped_bytes_end_in_a_file_or_in_one_line(
    seed: int, tmp_path: Path, identity: Runner
) -> None:
    source = write(tmp_path / "in.mkv", Clip(audio=1))
    clean = source.read_bytes()
    random = np.random.default_rng(seed)
    for attempt in range(6):
        content = np.frombuffer(clean, np.uint8).copy()
        places = random.integers(0, len(content), 1 + 10 * attempt)
        content[places] = random.integers(0, 256, len(places))
        source.write_bytes(content.tobytes())
        target = tmp_path / f"{attempt}.mkv"
        try:
            saved(source, target, identity, "skip")
        except UserError as error:
            assert "\n" not in str(error)
            assert not target.exists()
        else:
            assert times(target)


def test_damage_in_a_pipe_is_not_called_an_index_at_the_end(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    plain, first = tmp_path / "plain.mp4", {"movflags": "faststart"}
    write(plain, Clip("mjpeg", "yuvj420p"))
    with av.open(str(plain)) as clip, av.open(str(source), "w", options=first) as out:
        copy = out.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux():
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    content = bytearray(source.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    source.write_bytes(content)
    pipe = subprocess.Popen(["cat", source], stdout=subprocess.PIPE)
    with pipe, pytest.raises(UserError, match="damaged data"):
        Reader(pipe.stdout, "standard input")


def test_a_file_that_must_be_rewound_is_not_called_damaged_in_a_pipe(tmp_path: Path) -> None:
    """Its index lies at the end, as cameras write it."""
    clip = Clip("mjpeg", "yuvj420p", height=480, width=640, times=range(0, 400, 20))
    source = write(tmp_path / "in.mp4", clip)
    content = source.read_bytes()
    assert content.index(b"moov") > 100_000, "nothing holds as much as lies before it"
    with source.open("rb") as redirected, Reader(redirected, "standard input") as reader:
        assert len(list(reader)) == 20
    with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as pipe:
        answer = (
            r"^standard input: cannot be rewound, .*: name the file, or redirect it \(< FILE\)$"
        )
        with pytest.raises(UserError, match=answer):
            Reader(pipe.stdout, "standard input")
