"""Three threads and room for one frame between them: it never lags, it drops."""

import itertools
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from kd_lightning import Enhancer
from kd_lightning.stages import Stage
from kd_lightning.video import live
from kd_lightning.video.frame import Frame
from kd_lightning.video.live import Captured, Statistics, stream
from kd_lightning.video.writer import Writer
from tests.runs import ROOT
from tests.video.live_parts import Eye, Student, camera, frame


@pytest.mark.parametrize(
    ("enhancing", "showing"), [(0.0, 0.0), (0.03, 0.0), (0.0, 0.03), (0.02, 0.03)]
)
def test_each_frame_is_shown_once_in_order_or_counted_as_dropped_and_the_last_is_shown(
    enhancing: float, showing: float
) -> None:
    eye = Eye(showing)
    total = stream(camera(0.5, 100), Student(enhancing), eye)
    assert total.captured == 50 == total.shown + total.dropped
    assert total.shown == len(eye.seen) == total.latency.count <= total.enhancing.count
    assert eye.seen == sorted(set(eye.seen))
    assert eye.seen[-1] == 49


def test_a_stage_five_times_too_slow_drops_but_does_not_lag() -> None:
    eye = Eye()
    total = stream(camera(2, 100), Student(0.05), eye)
    latencies = [
        moment - eye.moments[0] - number / 100
        for number, moment in zip(eye.seen, eye.moments, strict=True)
    ]
    assert total.dropped > 100
    late, early = np.median(latencies[-8:]), np.median(latencies[1:9])
    assert late - early < 0.1, "a queue would be 1.5 seconds behind at the end"


def test_frames_that_the_enhancer_passes_over_are_neither_shown_nor_dropped() -> None:
    eye = Eye()
    total = stream(camera(0.5), lambda frame: frame if frame.pts % 2 else None, eye)
    assert all(number % 2 for number in eye.seen)
    assert total.captured == 10 == total.shown + total.skipped + total.dropped
    assert total.skipped >= 3


def test_capture_and_enhancement_have_threads_of_their_own_and_display_has_the_callers() -> None:
    names: dict[str, set[str]] = {"capture": set(), "enhance": set(), "show": set()}

    def note(where: str) -> None:
        names[where].add(threading.current_thread().name)

    def source() -> Iterator[Captured]:
        for item in camera(0.2):
            note("capture")
            yield item

    def restore(frame: Frame) -> Frame:
        note("enhance")
        return frame

    class Sink:
        def show(self, frame: Frame) -> bool:
            note("show")
            return True

    stream(source(), restore, Sink())
    here = threading.current_thread().name
    assert names == {"capture": {"capture"}, "enhance": {"enhancement"}, "show": {here}}


def test_a_sink_that_has_nobody_left_ends_an_endless_source() -> None:
    eye = Eye(most=3)
    total = stream(((time.monotonic(), frame(n)) for n in itertools.count()), Student(0.01), eye)
    assert len(eye.seen) == 3
    assert total.captured >= 3
    assert not {"capture", "enhancement"} & {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("where", ["source", "enhancer", "sink"])
def test_what_a_stage_raises_ends_the_stream_and_reaches_the_caller(where: str) -> None:
    def fail(stage: str, number: int) -> None:
        if stage == where and number == 4:
            raise OSError(f"{stage} is gone")

    def source() -> Iterator[Captured]:
        for number in range(1000):
            fail("source", number)
            time.sleep(0.002)
            yield time.monotonic(), frame(4 if number > 4 and where != "source" else number)

    def restore(frame: Frame) -> Frame:
        fail("enhancer", frame.pts)
        return frame

    class Sink:
        def show(self, frame: Frame) -> bool:
            fail("sink", frame.pts)
            return True

    with pytest.raises(OSError, match=f"{where} is gone"):
        stream(source(), restore, Sink())
    assert not {"capture", "enhancement"} & {thread.name for thread in threading.enumerate()}


def test_interrupted_at_any_line_a_stream_has_ended_its_threads() -> None:
    """Ctrl-C at each line in turn that the caller's thread runs of a short stream."""

    def source() -> Iterator[Captured]:
        for number in itertools.count():
            time.sleep(0.001)
            yield time.monotonic(), frame(number)

    class Presser:
        """Presses Ctrl-C at one line of the package."""

        def __init__(self, line: int) -> None:
            self.left, self.places = line, list[str]()

        def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
            if "kd_lightning" in frame.f_code.co_filename and event == "line":
                self.left -= 1
                if self.left == 0:
                    self.places.append(frame.f_code.co_name)
                    signal.raise_signal(signal.SIGINT)
            return self

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    pressed: list[str] = []
    for line in itertools.count(1):
        presser, total, interrupted = Presser(line), Statistics(), False
        before = sys.gettrace()
        sys.settrace(presser)
        try:
            stream(source(), Student(0.0), Eye(most=2), total=total)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(before)
        assert not any(isinstance(thread, Stage) for thread in threading.enumerate()), (
            presser.places
        )
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not presser.places:
            break
        assert interrupted, presser.places
        assert total.shown <= total.captured
        pressed += presser.places
    assert {"stream", "display", "end", "__enter__", "__exit__"} <= set(pressed)


def test_what_is_told_along_the_way_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.2)
    told: list[dict[str, Any]] = []
    total = stream(camera(1.5), Student(0.0), Eye(), told.append)
    assert len(told) >= 4
    for count in ("captured", "shown", "dropped", "skipped"):
        assert 0 <= sum(line[count] for line in told) <= total.as_dict()[count]
    assert sum(line["shown"] for line in told) > total.shown / 2
    assert [line["seconds"] for line in told] == sorted(line["seconds"] for line in told)
    for line in told:
        assert 0 <= line["latency_ms"]["p50"] <= line["latency_ms"]["p95"]
        assert line["latency_ms"]["p95"] <= line["latency_ms"]["max"]


def test_latency_is_from_capture_to_display() -> None:
    total = stream(camera(0.5, 10), Student(0.02), Eye(0.03))
    assert total.latency.quantile(0.5) >= 0.05
    assert 0.02 <= total.enhancing.quantile(0.5) < total.latency.quantile(0.5)


def test_an_enhancer_of_the_package_needs_no_adapter(fast_weights: Path) -> None:
    seen: list[Frame] = []

    class Sink:
        def show(self, frame: Frame) -> bool:
            seen.append(frame)
            return True

    enhance = Enhancer(fast_weights, backend="torch", precision="fp32")
    stream(iter([(time.monotonic(), frame(7))]), enhance, Sink())
    assert np.array_equal(seen[0].pixels, enhance(frame(7).pixels))
    assert seen[0].pts == 7


def test_the_program_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/live.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 20
    with Writer(tmp_path / "clip.mp4") as writer:
        for number in range(4):
            writer.write(frame(number, 32, 48))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("(64, 96) ")
    assert " of 4 frames shown" in printed[-1]


@pytest.mark.parametrize("sink", ["pipe", "window"])
def test_the_figures_of_the_page_are_those_that_were_measured(sink: str) -> None:
    """And they are what is promised: no drops, p95 within two frame times, the policy in time."""
    name = "live.json" if sink == "pipe" else "live_window.json"
    measured = json.loads((ROOT / "experiments" / "video" / name).read_text())
    run, slow = measured["run"], measured["too_slow"]
    ms, page = run["latency_ms"], (ROOT / "docs/live.md").read_text()
    row = f"| {sink} | {run['shown']} | {run['dropped']} | {ms['p50']:.0f} | {ms['p95']:.0f}"
    assert f"{row} | {ms['max']:.0f} |" in page
    first, longest = slow["changes"][0][0], slow["latency_ms_before"]["max"]
    assert (
        f"| {sink} | {first:.1f} | {longest:.0f} | {slow['latency_ms_after']['p95']:.0f} |" in page
    )
    assert (run["shown"], run["dropped"], run["changes"]) == (1800, 0, [])
    assert ms["p95"] < 2 * 1000 / 30
    assert first < 3
    assert longest < 2.5 * 1000 * slow["times_too_slow"] / 30
