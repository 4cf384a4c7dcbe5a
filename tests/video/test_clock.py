"""Times of a source that jump, begin before 0 or begin late."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from kd_lightning.deploy.backends import Runner
from kd_lightning.video.camera import open_stream
from kd_lightning.video.clock import Clock
from kd_lightning.video.enhancing import enhanced
from kd_lightning.video.pipeline import process
from kd_lightning.video.reader import Reader
from kd_lightning.video.writer import Encoding, Writer
from tests.video.clips import Clip, packets, times, write

SECOND = range(0, 600, 20)
WRAP = 2**33 / 90000  # seconds after which a transport stream counts from 0 again
TICK = Fraction(1, 1000)


def moved(source: Path, seconds: float) -> Path:
    """All packets of a clip, so much later."""
    target = source.with_name(f"moved{source.suffix}")
    with av.open(str(source)) as file, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in file.streams}
        for packet in (p for p in file.demux() if p.size):
            ticks = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, (packet.dts or 0) + ticks
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return target


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def saved(source: Path, target: Path, runner: Runner) -> tuple[list[str], list[str]]:
    with Reader(source) as reader, Writer(target, Encoding("h264"), reader) as writer:
        process(reader, lambda frames: enhanced(runner, frames), writer)
    return reader.notes, reader.problems


@pytest.mark.parametrize("sound", [0, 1], ids=["", "sound"])
@pytest.mark.parametrize("far", [0, 1000], ids=["back", "ahead"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_time_that_jumps_goes_on_for_frames_and_sound_and_one_line_says_so(
    sound: int, far: int, suffix: str, tmp_path: Path, identity: Runner
) -> None:
    part = write(tmp_path / "part.ts", Clip(times=SECOND, audio=sound, sound="aac"))
    source = joined(tmp_path / "in.ts", part, moved(part, far), part)
    target = tmp_path / f"out{suffix}"
    notes, problems = saved(source, target, identity)
    (note,) = notes
    assert note.startswith("time jumps " + ("ahead" if far else "back"))
    assert note.endswith("2 such jumps in all") and problems == []
    found = times(target)
    assert len(found) == 90
    assert np.diff(found) == pytest.approx(1 / 30, abs=0.07)
    assert found[-1] - found[0] == pytest.approx(89 / 30, abs=0.15)
    if sound:
        (before,), (after,) = packets(source, "audio"), packets(target, "audio")
        assert len(after) == len(before)
        assert np.diff([at for at, _ in after]) == pytest.approx(1024 / 48000, abs=0.07)
        assert after[-1][0] == pytest.approx(found[-1], abs=0.1), "they stay together"


@pytest.mark.parametrize("seconds", [WRAP - 2, 26000], ids=["before 0", "late"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_source_that_begins_before_0_or_late_begins_at_0_and_shows_all_frames(
    seconds: float, suffix: str, tmp_path: Path, identity: Runner
) -> None:
    part = write(tmp_path / "part.ts", Clip(times=SECOND, audio=1, sound="aac"))
    source, target = moved(part, seconds), tmp_path / f"out{suffix}"
    assert saved(source, target, identity) == ([], [])
    found, expected = np.array(times(target)), np.array(times(part))
    assert len(found) == 30
    assert 0 <= found[0] < 0.2
    assert found - found[0] == pytest.approx(expected - expected[0], abs=2e-3)
    (sound,), (before,) = packets(target, "audio"), packets(part, "audio")
    lead = before[0][0] - expected[0]
    assert sound[0][0] - found[0] == pytest.approx(lead, abs=2e-3), "they stay together"


def test_a_live_file_whose_time_jumps_back_goes_on_at_its_pace(tmp_path: Path) -> None:
    part = write(tmp_path / "part.ts", Clip(times=range(0, 400, 20)))
    with open_stream(str(joined(tmp_path / "in.ts", part, part))) as source:
        moments = [moment for moment, _ in source]
        assert source.notes[0].startswith("time jumps back")
    assert len(moments) == 40
    assert np.diff(moments) == pytest.approx(1 / 30, abs=0.07)


def test_a_late_end_that_is_missing_is_still_missed(tmp_path: Path) -> None:
    source = moved(write(tmp_path / "in.mkv", Clip(times=SECOND, options={"bf": "0"})), 26000)
    with Reader(source) as reader:
        first, *_ = [frame.seconds for frame in reader]
        assert first == pytest.approx(0, abs=2e-3)
        assert reader.problems == []
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    with Reader(source) as reader:
        list(reader)
        assert len(reader.problems) == 1


def test_chapters_move_with_the_frames(tmp_path: Path, identity: Runner) -> None:
    plain, source = write(tmp_path / "plain.mkv", Clip(options={"bf": "0"})), tmp_path / "in.mkv"
    late = moved(plain, 26000)
    with av.open(str(late)) as file, av.open(str(source), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        base = Fraction(1, 1000)
        chapter = {"id": 1, "start": 26000100, "end": 26000200, "time_base": base}
        out.set_chapters([{**chapter, "metadata": {"title": "one"}}])
        for packet in (p for p in file.demux() if p.size):
            packet.stream = stream
            out.mux(packet)
    saved(source, tmp_path / "out.mkv", identity)
    with av.open(str(tmp_path / "out.mkv")) as file:
        (found,) = file.chapters()
        assert float(found["start"] * found["time_base"]) == pytest.approx(0.1, abs=2e-3)


class Source:
    """Packets of a film (0), sound (1) and subtitles (2), by a clock."""

    def __init__(self, format: str = "mpegts") -> None:
        container = SimpleNamespace(start_time=None, format=av.ContainerFormat(format))
        self.clock = Clock(container, SimpleNamespace(start_time=None))

    def at(self, stream: int, dts: int | None, pts: int | None = None, lasts: int = 40) -> Any:
        """When a packet is decoded, mapped; None without such a time."""
        kind = ("video", "audio", "subtitle")[stream]
        packet = SimpleNamespace(
            stream=SimpleNamespace(index=stream, type=kind), time_base=TICK, duration=lasts
        )
        packet.dts, packet.pts = dts, dts if pts is None else pts
        self.clock.set(packet)
        return packet.pts if packet.dts is None else packet.dts


def test_a_second_stream_follows_the_jump_of_the_first_and_makes_none_of_its_own() -> None:
    source = Source()
    for at in range(0, 2000, 40):
        source.at(0, at)
        if at < 1900:
            source.at(1, at)
    assert source.at(0, 0) == 2000
    assert [source.at(1, at) for at in (1920, 1960, 0)] == [1920, 1960, 2000]
    assert [source.at(stream, 40) for stream in (0, 1)] == [2040, 2040]
    assert source.clock.notes == ["time jumps back at 2.00 s: it goes on from there"]


def test_sound_that_was_longer_than_the_film_does_not_go_back_at_a_jump() -> None:
    source = Source()
    for at in range(0, 2000, 40):
        source.at(0, at), source.at(1, at)
    assert source.at(0, 0) == 2000
    assert [source.at(1, at) for at in (2000, 2040, 0)] == [2000, 2040, 2080]
    assert source.at(0, 40) == 2120, "and the film stays with it"


def test_predicted_frames_and_packets_without_a_decoding_time_are_no_jump() -> None:
    source = Source()
    shown = [0, 800, 400, 200, 600, 1600, 1200]
    assert [source.at(0, 40 * n, pts) for n, pts in enumerate(shown)] == list(range(0, 280, 40))
    assert [source.at(0, None, pts) for pts in (2000, 1500)] == [2000, 1500]
    assert source.clock.notes == []


def test_a_pause_of_sound_or_of_subtitles_is_no_jump() -> None:
    source = Source()
    source.at(1, 0), source.at(2, 0)
    for at in range(0, 60000, 40):
        source.at(0, at)
    assert [source.at(1, 60000), source.at(2, 60000)] == [60000, 60000]
    assert source.clock.notes == []


def test_subtitles_follow_a_jump_though_theirs_cannot_be_seen() -> None:
    source = Source()
    for at in range(0, 9000, 40):
        source.at(0, at)
    source.at(2, 5000)
    for at in range(0, 7000, 40):
        source.at(0, at)
    assert source.at(2, 7000) == 9000 + 7000


def test_a_slip_of_one_packet_moves_nothing_after_it() -> None:
    source = Source()
    moments = [*range(0, 2000, 40), 1600, *range(2040, 4000, 40)]
    assert [source.at(1, at) for at in moments] == moments
    assert source.clock.notes == []


def test_formats_whose_time_goes_on_may_have_long_pauses_and_small_slips() -> None:
    source = Source("matroska")
    moments = [0, 40, 500_000, 499_500, 500_040]
    assert [source.at(0, at) for at in moments] == moments
    assert source.at(0, 0) == 500_080
