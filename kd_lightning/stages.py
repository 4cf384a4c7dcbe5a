"""Threads that read, enhance or write, and how a program ends while one is inside native code.

Such a thread may wait there for ever, for a camera, a server or a pipe that says nothing, and
nothing can wake it. If it wakes by itself while Python is being taken down, it ends the whole
program with an abort.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Self, TypeVar

A = TypeVar("A")
T = TypeVar("T")
WAKE = 0.2  # seconds between two looks at Ctrl-C
PATIENCE = 3.0  # seconds for stages to end that are no longer wanted


class Stage(threading.Thread):
    """A thread that runs `work`, and that the program does not wait for at its end: see `leave`."""

    def __init__(self, work: Callable[[], None], name: str | None = None) -> None:
        super().__init__(target=work, name=name, daemon=True)


def end(stages: Iterable[Stage], patience: float = PATIENCE) -> None:
    """Wait until they have ended, those that were started; `patience` seconds for all together."""
    deadline = time.monotonic() + patience
    for stage in stages:
        if stage.is_alive():
            stage.join(max(0.0, deadline - time.monotonic()))


def in_stage(work: Callable[[], T]) -> T:
    """What `work` returns or raises. It runs in a stage, so that Ctrl-C interrupts this even where
    `work` waits in native code."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # it is raised again below
            errors.append(error)

    stage = Stage(run)
    stage.start()
    while stage.is_alive():
        stage.join(WAKE)
    if errors:
        raise errors[0]
    return results[0]


def leave(status: int) -> None:
    """Call this before the program ends with exit status `status`: where a stage still runs by
    then, the program ends at once, without what Python does at its end.

    Files that are still open must have been flushed.
    """
    if _running():
        atexit.register(_leave, status)


def _leave(status: int) -> None:
    # A stage in native code can neither be woken nor joined, and must not find Python taken down.
    if _running():
        os._exit(status)


def _running() -> bool:
    return any(isinstance(thread, Stage) for thread in threading.enumerate())


class CtrlC:
    """Ctrl-C in this context is noted, so that what must be done together is; at its end the
    KeyboardInterrupt is raised. In other threads than the main one, and where the program handles
    Ctrl-C itself, it does nothing.

    Attributes:
        pressed: Ctrl-C was.
    """

    def __init__(self) -> None:
        self.pressed = self._breaks = self._handles = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._handles = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.pressed and error is None:
            raise KeyboardInterrupt

    def breaks(self, work: Callable[[A], T], argument: A) -> T:
        """`work(argument)`, which Ctrl-C interrupts, as it may wait for ever."""
        self._breaks = True
        try:
            if self.pressed:
                raise KeyboardInterrupt
            return work(argument)
        finally:
            self._breaks = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        if self._breaks:
            self._breaks = False
            raise KeyboardInterrupt
