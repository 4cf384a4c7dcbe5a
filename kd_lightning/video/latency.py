"""Quantiles of durations, in memory that does not grow with a stream that runs for days."""

import math
from collections import Counter

STEP = 1.01  # ratio of two neighbouring bins: quantiles are right to one percent
SHORTEST = 1e-6  # seconds; what is shorter counts as this


class Durations:
    """A histogram of durations in seconds.

    Attributes:
        count: how many were added.
        longest: the longest of them, exactly; 0 where there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._bins: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self.count += 1
        self.longest = max(self.longest, seconds)
        self._bins[math.ceil(math.log(max(seconds, SHORTEST) / SHORTEST, STEP))] += 1

    def quantile(self, share: float) -> float:
        """The duration that `share` (in [0, 1]) of them do not exceed, by nearest rank, up to one
        percent too long; 0 where there is none."""
        rank, seen = max(1, math.ceil(share * self.count)), 0
        for number in sorted(self._bins):
            seen += self._bins[number]
            if seen >= rank:
                return min(self.longest, SHORTEST * STEP**number)
        return 0.0

    def milliseconds(self) -> dict[str, float]:
        """p50, p95 and max, in milliseconds."""
        values = {"p50": self.quantile(0.5), "p95": self.quantile(0.95), "max": self.longest}
        return {name: round(1000 * value, 2) for name, value in values.items()}
