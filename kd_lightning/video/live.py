"""A live stream through an enhancer: it never lags, it drops.

Three threads, and between each two of them room for one frame, where the newest wins: capture,
which reads the source; enhancement; and display, which is the caller's own thread, because windows
need the main one. So a frame waits at most for the one before it, however slow a stage is.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from kd_lightning.api import Enhancer
from kd_lightning.stages import WAKE, CtrlC, Stage, end
from kd_lightning.video.frame import Frame
from kd_lightning.video.latency import Durations
from kd_lightning.video.mailbox import Mailbox

INTERVAL = 1.0  # seconds between two calls of `tell`

Captured = tuple[
    float, Frame
]  # `time.monotonic()` of the moment when it was captured, and the frame
Source = Iterable[Captured]
Restore = Callable[[Frame], Frame | None]  # None: this frame is not to be shown


class Sink(Protocol):
    """Where enhanced frames go."""

    def show(self, frame: Frame) -> bool:
        """Show one; False where there is nobody left to see it, which ends the stream."""
        ...


class Statistics:
    """What became of the frames of a stream.

    Attributes:
        captured: frames that the source gave.
        shown: of them, those that the sink has shown.
        skipped: those that the enhancer passed over on purpose.
        dropped: those that a newer one replaced.
        latency: from capture to display, of shown frames.
        enhancing: the time of enhancement alone.
    """

    def __init__(self) -> None:
        self.captured = self.shown = self.skipped = self.dropped = 0
        self.latency, self.enhancing = Durations(), Durations()

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the counts, and p50, p95 and max in milliseconds."""
        counts = {key: value for key, value in vars(self).items() if isinstance(value, int)}
        return {
            **counts,
            "latency_ms": self.latency.milliseconds(),
            "enhance_ms": self.enhancing.milliseconds(),
        }

    def sentence(self) -> str:
        """For people."""
        ms = self.latency.milliseconds()
        skipped = f", {self.skipped} passed over" if self.skipped else ""
        return (
            f"{self.shown} of {self.captured} frames shown, {self.dropped} dropped{skipped}; "
            f"latency p50 {ms['p50']:.0f} ms, p95 {ms['p95']:.0f} ms, max {ms['max']:.0f} ms"
        )


def restoring(enhancer: Enhancer) -> Restore:
    """`enhancer` for frames."""
    return lambda frame: frame.with_image(enhancer(frame.pixels))


def stream(
    source: Source,
    enhancer: Enhancer | Restore,
    sink: Sink,
    tell: Callable[[dict[str, Any]], None] | None = None,
    total: Statistics | None = None,
) -> Statistics:
    """Enhance a live stream until the source ends, the sink has nobody left, or Ctrl-C.

    Call it in the main thread where the sink is a window. Source and sink are not closed. A source
    that waits for ever in native code leaves its thread behind: see `kd_lightning.stages.leave`.

    Args:
        source: gives frames as they are captured; it is read in a thread of its own.
        enhancer: an `Enhancer`, or a function of one frame that returns the enhanced one or None
            for a frame that is not to be shown (`kd_lightning.video.ladder` makes one that keeps
            the rate). Called in a thread of its own.
        sink: shows what comes out; called in this thread.
        tell: called about once a second with `Statistics.as_dict()` of the time since the last
            call, and "seconds" since the start.
        total: is filled as frames pass, for who wants it where an exception ends the stream.

    Returns:
        What became of all frames.

    Raises:
        whatever source, enhancer or sink raise: the first of these, after the threads have ended.
        KeyboardInterrupt: after Ctrl-C, and after the threads have ended.
    """
    restore = restoring(enhancer) if isinstance(enhancer, Enhancer) else enhancer
    run = _Run(source, restore, tell, total or Statistics())
    stages = [
        Stage(lambda: run.guard(run.capture, run.fresh), "capture"),
        Stage(lambda: run.guard(run.enhance, run.done), "enhancement"),
    ]
    with CtrlC() as ctrl_c:  # or it could come between a thread's start and the wait for its end
        for stage in stages:
            stage.start()
        try:
            run.display(sink, ctrl_c)
        finally:
            run.fresh.close()
            run.done.close()
            end(stages)
            run.count_drops()
    if run.failures:
        raise run.failures[0]
    return run.total


class _Run:
    """The stages of one stream, and the mailboxes between them."""

    def __init__(
        self,
        source: Source,
        restore: Restore,
        tell: Callable[[dict[str, Any]], None] | None,
        total: Statistics,
    ) -> None:
        self.source, self.restore, self.tell = source, restore, tell
        self.fresh: Mailbox[Captured] = Mailbox()
        self.done: Mailbox[Captured] = Mailbox()
        self.failures: list[BaseException] = []
        self.total, self.recent = total, Statistics()
        self._lock = threading.Lock()
        self._start = self._told = time.monotonic()

    def guard(self, stage: Callable[[], None], mailbox: Mailbox[Captured]) -> None:
        """Run a stage; its end, or what it raises, ends those behind it."""
        try:
            stage()
        except BaseException as error:  # it is raised again in the caller's thread
            self.failures.append(error)
        finally:
            mailbox.close()

    def capture(self) -> None:
        for item in self.source:
            self._count("captured")
            if not self.fresh.put(item):
                return

    def enhance(self) -> None:
        while (item := self.fresh.take()) is not None:
            captured, frame = item
            start = time.monotonic()
            restored = self.restore(frame)
            if restored is None:
                self._count("skipped")
                continue
            self._add("enhancing", time.monotonic() - start)
            if not self.done.put((captured, restored)):
                return

    def display(self, sink: Sink, ctrl_c: CtrlC) -> None:
        while not ctrl_c.pressed:
            try:
                item = self.done.take(WAKE)
            except TimeoutError:
                continue
            if item is None:
                return
            captured, frame = item
            if not ctrl_c.breaks(sink.show, frame):
                return
            self._count("shown")
            self._add("latency", time.monotonic() - captured)
            if self.tell and time.monotonic() - self._told >= INTERVAL:
                ctrl_c.breaks(self.tell, self._report())

    def count_drops(self) -> None:
        dropped = self.fresh.dropped + self.done.dropped
        with self._lock:
            self.recent.dropped += dropped - self.total.dropped
            self.total.dropped = dropped

    def _report(self) -> dict[str, Any]:
        self.count_drops()
        with self._lock:
            recent, self.recent = self.recent, Statistics()
        self._told = time.monotonic()
        return {"seconds": round(self._told - self._start, 2), **recent.as_dict()}

    def _count(self, what: str) -> None:
        with self._lock:
            for statistics in (self.total, self.recent):
                setattr(statistics, what, getattr(statistics, what) + 1)

    def _add(self, what: str, seconds: float) -> None:
        with self._lock:
            for statistics in (self.total, self.recent):
                getattr(statistics, what).add(seconds)
