"""The rungs of a live stream, made from students: each once whole, then cheaper uses of the last.

After the smallest student come: that student on the middle quarter of the image alone, the rest
interpolated; the same on every second frame, the others not shown; and interpolation alone.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kd_lightning.api import Enhancer
from kd_lightning.deploy.enhance import halo
from kd_lightning.video.enhancing import interpolated
from kd_lightning.video.frame import Frame
from kd_lightning.video.live import Restore, restoring
from kd_lightning.video.policy import Policy, Rung
from kd_lightning.yuv import Yuv

BENCHMARK = 0.5  # seconds for all rungs together, after two calls of each, which compile
MIDDLE = 0.25  # share of the area


@dataclass(frozen=True)
class Way:
    """One way to restore frames: what a `Rung` is, before its cost is known."""

    name: str
    restore: Restore
    every: int = 1


class Ladder:
    """Restores frames as well as the rate allows; for `kd_lightning.video.live.stream`.

    Args:
        ways: from the best result to the cheapest. One that costs no less than a better one, on
            this machine, is left out.
        size: height, width of the frames to come; the half-second benchmark runs on noise.
        budget: seconds that a frame of the source may take.
        tell: called with one line where the way changes, from the thread of enhancement.
        clock: seconds that pass.
    """

    def __init__(
        self,
        ways: list[Way],
        size: tuple[int, int],
        budget: float,
        tell: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ways, self._tell, self._clock = list[Way](), tell, clock
        rungs = list[Rung]()
        for way, cost in zip(ways, benchmark(ways, noise(size), clock), strict=True):
            rung = Rung(way.name, cost, way.every)
            if not rungs or rung.demand < rungs[-1].demand:
                rungs.append(rung)
                self._ways.append(way)
        self._policy = Policy(rungs, budget, clock)
        self._seen = 0

    @property
    def rung(self) -> Rung:
        """The one in use."""
        return self._policy.rung

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """All that are in use here, with what they cost in the benchmark."""
        return self._policy.rungs

    def __call__(self, frame: Frame) -> Frame | None:
        """The restored frame, or None for one that is passed over."""
        self._seen += 1
        way = self._ways[self._policy.current]
        if self._seen % way.every:
            return None
        start = self._clock()
        restored = way.restore(frame)
        if line := self._policy.record(self._clock() - start):
            self._tell(line)
        return restored


def ways(students: Mapping[str, Enhancer], middle: Enhancer) -> list[Way]:
    """The rungs.

    Args:
        students: name -> enhancer, the best and slowest first; all of one scale.
        middle: the last of them once more, for the middle of the image. (An enhancer is compiled
            for one size at a time.)
    """
    *_, smallest = students
    scale = students[smallest].scale
    part = f"{smallest} on the middle quarter"
    on_middle = middle_alone(middle, MIDDLE)
    return [
        *(Way(name, restoring(student)) for name, student in students.items()),
        Way(part, on_middle),
        Way(f"{part}, every second frame", on_middle, every=2),
        Way("interpolation", lambda frame: frame.with_image(interpolated(frame.pixels, scale))),
    ]


def middle_alone(enhancer: Enhancer, share: float) -> Restore:
    """Enhances a rectangle of `share` of the area in the middle, exactly as in the whole image, and
    interpolates what lies around it."""
    scale, step = enhancer.scale, math.lcm(2, enhancer.runner.multiple_of)
    border = math.ceil(halo(enhancer.runner, scale) / step) * step

    def restore(frame: Frame) -> Frame:
        pixels = frame.pixels
        result = interpolated(pixels, scale)
        (top, bottom), (left, right) = (_middle(side, share, step) for side in pixels.shape[:2])
        above, before = max(0, top - border), max(0, left - border)
        part = enhancer(pixels[above : bottom + border, before : right + border])
        result[top * scale : bottom * scale, left * scale : right * scale] = part[
            (top - above) * scale : (bottom - above) * scale,
            (left - before) * scale : (right - before) * scale,
        ]
        return frame.with_image(result)

    return restore


def _middle(side: int, share: float, step: int) -> tuple[int, int]:
    """Start and end of the middle of `side`; the start is a multiple of `step`, so that blocks of
    pixels that a network works on lie where they lie in the whole image."""
    start = round(side * (1 - math.sqrt(share)) / 2 / step) * step
    return start, side - start


def noise(size: tuple[int, int]) -> Frame:
    """A frame of noise as a camera gives it, 4:2:0."""
    half = (size[0] + 1) // 2, (size[1] + 1) // 2
    generator = np.random.default_rng(0)
    planes = (generator.integers(0, 256, shape, np.uint8) for shape in (size, half, half))
    return Frame(Yuv(*planes), 0, Fraction(1, 1000))


def benchmark(ways: list[Way], sample: Frame, clock: Callable[[], float]) -> list[float]:
    """Median seconds of each way on `sample`, and three frames of each at least."""
    costs = []
    for way in ways:
        for _ in range(2):
            way.restore(sample)
        seconds: list[float] = []
        start = clock()
        while len(seconds) < 3 or clock() - start < BENCHMARK / len(ways):
            begin = clock()
            way.restore(sample)
            seconds.append(clock() - begin)
        costs.append(statistics.median(seconds))
    return costs
