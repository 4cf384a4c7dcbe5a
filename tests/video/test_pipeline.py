"""Three stages at a time: order, errors, stops and memory."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_lightning.memory import peak_memory
from kd_lightning.video.frame import Frame
from kd_lightning.video.pipeline import DEPTH, process


def frame(number: int) -> Frame:
    return Frame(np.full((2, 2, 3), number % 256, np.uint8), number, Fraction(1, 30))


class Source:
    def __init__(self, count: int, fails_at: int = -1) -> None:
        self.count, self.fails_at, self.read = count, fails_at, 0

    def items(self) -> Iterator[Any]:
        for number in range(self.count):
            if number == self.fails_at:
                raise OSError("the source broke")
            self.read += 1
            yield frame(number)
            yield f"packet {number}"


class Sink:
    def __init__(self, fails_at: int = -1, pause: float = 0.0) -> None:
        self.frames: list[int] = []
        self.packets: list[str] = []
        self.fails_at, self.pause = fails_at, pause

    def write(self, frame: Frame) -> None:
        if frame.pts == self.fails_at:
            raise OSError("the sink broke")
        time.sleep(self.pause)
        self.frames.append(frame.pts)

    def copy(self, packet: Any) -> None:
        self.packets.append(packet)


def same(frames: Iterable[Frame]) -> Iterator[Frame]:
    yield from frames


def test_all_frames_and_packets_arrive_in_order() -> None:
    sink = Sink()
    report = process(Source(100), same, sink)
    assert sink.frames == list(range(100))
    assert sink.packets == [f"packet {number}" for number in range(100)]
    assert report.frames == 100
    assert report.position == pytest.approx(99 / 30)


def test_the_slowest_stage_waits_least_and_the_others_are_a_few_frames_ahead() -> None:
    source, ahead = Source(40), []

    def watched(frames: Iterable[Frame]) -> Iterator[Frame]:
        for item in frames:
            ahead.append(source.read - item.pts)
            yield item

    report = process(source, watched, Sink(pause=0.02))
    assert min(report.waited, key=lambda stage: report.waited[stage]) == "write"
    assert max(ahead) <= DEPTH + 2


@pytest.mark.parametrize("broken", ["source", "enhance", "sink"])
def test_an_error_of_any_stage_ends_all_and_is_raised(broken: str) -> None:
    def enhance(frames: Iterable[Frame]) -> Iterator[Frame]:
        for item in frames:
            if broken == "enhance" and item.pts == 20:
                raise OSError("the enhance broke")
            yield item

    source = Source(10**6, 20 if broken == "source" else -1)
    sink = Sink(20 if broken == "sink" else -1)
    before = threading.active_count()
    with pytest.raises(OSError, match=f"the {broken} broke"):
        process(source, enhance, sink)
    assert threading.active_count() == before
    assert source.read <= 20 + 2 * DEPTH + 4


def test_a_sink_that_breaks_does_not_wait_for_a_source_that_says_nothing() -> None:
    on = threading.Event()

    class Silent(Source):
        def items(self) -> Iterator[Any]:
            yield from super().items()
            on.wait(60)

    try:
        start = time.monotonic()
        with pytest.raises(OSError, match="the sink broke"):
            process(Silent(3), same, Sink(fails_at=1))
        assert time.monotonic() - start < 30
    finally:
        on.set()


def test_a_stop_finishes_what_was_read() -> None:
    source, sink, stop = Source(10**6), Sink(), threading.Event()
    process(source, same, sink, lambda report: stop.set() if report.frames > 50 else None, stop)
    assert 50 < len(sink.frames) == source.read < 200


FLAT = """
import sys
from tests.video.test_pipeline import memory_of
print(memory_of(sys.argv[1], int(sys.argv[2])))
"""


def memory_of(folder: str, count: int) -> int:
    """Peak resident kilobytes of a clip of so many frames, with sound, made and enhanced."""
    from kd_lightning.video.reader import Reader
    from kd_lightning.video.writer import Encoding, Writer
    from tests.video.clips import Clip, write

    options = {"preset": "ultrafast"}
    times = range(0, 20 * count, 20)
    clip = write(Path(folder) / "in.mp4", Clip(times=times, options=options, audio=1))
    with Reader(clip) as reader, Writer(Path(folder) / "out.mp4", Encoding(), reader) as writer:
        assert process(reader, same, writer).frames == count
    return peak_memory() // 1024


@pytest.mark.slow
def test_memory_is_flat_over_5000_frames(tmp_path: Path) -> None:
    peaks = []
    for count in (500, 5000):
        command = [sys.executable, "-c", FLAT, str(tmp_path), str(count)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(run.stdout))
    assert peaks[1] - peaks[0] < 16 * 1024  # an index of 5,000 samples; their frames are 17 MB
