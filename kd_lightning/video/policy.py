"""What to do where the machine is too slow for a live stream, and when to undo it.

There are rungs, from the best result to the cheapest. At start the best that keeps the rate is
taken, by what a benchmark says. From then on each frame's time decides:

- down, by one rung, where the 95th percentile of two seconds is more than the budget of a frame;
- up, by one rung, where ten seconds were so quiet that the better rung should take at most
  COMFORTABLE of the budget: what the present one takes, times the ratio of their costs. A climb
  that fails within ten seconds doubles the wait for the next one, five minutes at most, so that a
  stream does not stutter every twelve seconds.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TOO_SLOW = 2.0  # seconds over the budget before a step down
QUIET = 10.0  # seconds within it before a step up
LONGEST_WAIT = 300.0  # seconds
COMFORTABLE = 0.85  # of the budget, what a rung may be expected to take that is chosen


@dataclass(frozen=True)
class Rung:
    """One way to enhance a stream.

    Attributes:
        name: for people.
        cost: seconds that an enhanced frame takes, as measured at start.
        every: of how many frames one is enhanced; the others are not shown.
    """

    name: str
    cost: float
    every: int = 1

    @property
    def demand(self) -> float:
        """Seconds of enhancing per frame of the source."""
        return self.cost / self.every


class Policy:
    """Chooses among rungs by how long frames take.

    Args:
        rungs: from the best result to the cheapest.
        budget: seconds that a frame of the source may take: its frame time.
        clock: seconds that pass.

    Attributes:
        current: index of the rung to use.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        budget: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rungs = tuple(rungs)
        self.budget = budget
        fitting = (n for n, rung in enumerate(rungs) if rung.demand <= COMFORTABLE * budget)
        self.current = next(fitting, len(rungs) - 1)
        self._clock = clock
        self._wait = QUIET
        self._climbed = False
        self._since: float | None = None  # the start of this rung's first frame
        self._loads: deque[tuple[float, float]] = deque()  # (when, share of the budget)

    @property
    def rung(self) -> Rung:
        return self.rungs[self.current]

    def record(self, seconds: float) -> str | None:
        """Take notice of a frame that took `seconds` to enhance.

        Returns:
            One line where the rung changed: from now on `current` is another.
        """
        now = self._clock()
        self._since = now - seconds if self._since is None else self._since
        self._loads.append((now, seconds / (self.budget * self.rung.every)))
        while self._loads[0][0] < now - QUIET:
            self._loads.popleft()
        age = now - self._since
        if age >= TOO_SLOW and (load := self._p95(now - TOO_SLOW)) > 1:
            return self._down(load, age, now)
        if age >= self._wait and self.current and (load := self._p95(now - QUIET)) <= 1:
            better = self.rungs[self.current - 1]
            if load * better.demand <= COMFORTABLE * self.rung.demand:
                return self._change(self.current - 1, now, f"{QUIET:g} quiet seconds")
        return None

    def _down(self, load: float, age: float, now: float) -> str | None:
        if self.current == len(self.rungs) - 1:
            return None
        failed = self._climbed and age < QUIET
        self._wait = min(2 * self._wait, LONGEST_WAIT) if failed else QUIET
        return self._change(
            self.current + 1, now, f"p95 of {TOO_SLOW:g} s at {load:.0%} of the budget"
        )

    def _change(self, wanted: int, now: float, why: str) -> str:
        before, self._climbed = self.rung, wanted < self.current
        self.current, self._since = wanted, None
        self._loads.clear()
        return f"{before.name} -> {self.rung.name}: {why}"

    def _p95(self, start: float) -> float:
        loads = sorted(load for when, load in self._loads if when >= start)
        return loads[math.ceil(0.95 * len(loads)) - 1]
