"""Sources, sinks and students for tests of live streams."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from kd_lightning.video.frame import Frame
from kd_lightning.video.live import Captured

RATE = 20  # frames a second: slow enough for a busy machine


def frame(number: int, height: int = 12, width: int = 16) -> Frame:
    """Frame `number`, whose brightness says which it is."""
    pixels = np.full((height, width, 3), number % 256, np.uint8)
    return Frame(pixels, number, Fraction(1, RATE))


class Clock:
    """Time that passes only where somebody spends it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


class Student:
    """Gives frames back after `seconds`, which a test may change."""

    def __init__(self, seconds: float, spend: Callable[[float], None] = time.sleep) -> None:
        self.seconds, self.spend = seconds, spend

    def __call__(self, frame: Frame) -> Frame:
        self.spend(self.seconds)
        return frame


def camera(seconds: float, rate: float = RATE) -> Iterator[Captured]:
    """Frames in real time."""
    start = time.monotonic()
    for number in range(round(seconds * rate)):
        due = start + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        yield due, frame(number)


class Eye:
    """A sink that remembers the numbers of the frames, and when it saw them."""

    def __init__(self, seconds: float = 0.0, most: int | None = None) -> None:
        self.seconds, self.most = seconds, most
        self.seen: list[int] = []
        self.moments: list[float] = []

    def show(self, frame: Frame) -> bool:
        time.sleep(self.seconds)
        self.seen.append(frame.pts)
        self.moments.append(time.monotonic())
        return self.most is None or len(self.seen) < self.most


class FakeCamera:
    """What `pyvirtualcam.Camera` is, as its documentation has it."""

    device = "/dev/video9"

    def __init__(self, width: int, height: int, fps: float) -> None:
        if width > 1000:
            raise RuntimeError("'v4l2loopback' backend:\nno device found")
        self.size, self.fps, self.sent, self.closed = (height, width), fps, list[Any](), False
        FakeCamera.last = self

    def send(self, frame: np.ndarray) -> None:
        assert frame.shape == (*self.size, 3)
        assert frame.dtype == np.uint8
        self.sent.append(frame)

    def close(self) -> None:
        self.closed = True

    last: "FakeCamera"
