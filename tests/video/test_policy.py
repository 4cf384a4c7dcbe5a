"""What a machine too slow for a stream makes the policy do, second by second, without waiting."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.video.policy import LONGEST_WAIT, QUIET, TOO_SLOW, Policy, Rung

FRAME = 1 / 30  # seconds
FAST, TINY = Rung("fast", 0.025), Rung("tiny", 0.010)
HALF, SECOND = Rung("tiny, half the area", 0.006), Rung("tiny, every second", 0.006, 2)
RUNGS = (FAST, TINY, HALF, SECOND)


class Stream:
    """Frames at 30 a second through a policy, on a clock of its own. Times are multiples of what
    the benchmark said, as on a machine that has other work."""

    def __init__(self, rungs: tuple[Rung, ...] = RUNGS, budget: float = FRAME) -> None:
        self.now = 0.0
        self.policy = Policy(rungs, budget, lambda: self.now)
        self.changes: list[tuple[float, str]] = []

    def run(self, seconds: float, slowdown: float, hiccup_every: int = 0) -> None:
        """`slowdown` times the benchmark; each `hiccup_every`th frame takes four times as long."""
        end, number = self.now + seconds, 0
        while self.now < end:
            number += 1
            rung = self.policy.rung
            took = rung.cost * slowdown
            if hiccup_every and number % hiccup_every == 0:
                took *= 4
            self.now += max(rung.every * FRAME, took)
            if line := self.policy.record(took):
                self.changes.append((self.now, line))


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(FRAME, FAST), (0.015, TINY), (0.008, HALF), (0.004, SECOND), (0.001, SECOND)],
)
def test_the_best_rung_that_keeps_the_rate_is_taken_at_start(budget: float, expected: Rung) -> None:
    assert Policy(RUNGS, budget).rung == expected


def test_a_machine_that_keeps_the_rate_changes_nothing() -> None:
    stream = Stream()
    stream.run(120, 1.0)
    assert stream.changes == []


def test_one_slow_frame_in_thirty_changes_nothing() -> None:
    stream = Stream()
    stream.run(60, 1.0, hiccup_every=30)
    assert stream.changes == []


def test_two_seconds_over_the_budget_take_the_next_smaller_student() -> None:
    stream = Stream()
    stream.run(5, 1.0)
    stream.run(TOO_SLOW, 1.5)
    ((when, line),) = stream.changes
    assert stream.policy.rung == TINY
    assert when <= 5 + TOO_SLOW + 2 * FRAME
    assert line == "fast -> tiny: p95 of 2 s at 113% of the budget"


@pytest.mark.parametrize("slowdown", [10, 30])
def test_a_student_ten_times_too_slow_is_left_within_three_seconds(slowdown: float) -> None:
    stream = Stream()
    stream.run(3, slowdown)
    assert stream.changes[0][0] < 3
    assert stream.policy.rung == TINY


def test_a_machine_that_stays_too_slow_goes_down_a_step_each_time() -> None:
    stream = Stream()
    stream.run(10, 6.0)
    assert [line.split(":")[0] for _, line in stream.changes] == [
        "fast -> tiny",
        "tiny -> tiny, half the area",
        "tiny, half the area -> tiny, every second",
    ]


def test_ten_quiet_seconds_bring_the_better_rung_back() -> None:
    stream = Stream()
    stream.run(3, 2.0)
    assert stream.policy.rung == TINY
    stream.run(20, 1.0)
    assert stream.policy.rung == FAST
    assert stream.changes[0][0] + QUIET <= stream.changes[1][0] <= 3 + QUIET
    assert stream.changes[1][1] == "tiny -> fast: 10 quiet seconds"


def test_no_climb_to_what_cannot_keep_the_rate() -> None:
    stream = Stream()
    stream.run(300, 1.5)  # fast would take 113 % of the budget
    assert len(stream.changes) == 1


def test_climbs_that_fail_become_rarer() -> None:
    """A student that is always slower than its benchmark says makes the prediction wrong."""
    stream = Stream((FAST, TINY))
    for _ in range(1800):
        stream.run(1, 2.0 if stream.policy.rung == FAST else 1.0)
    climbs = [when for when, line in stream.changes if line.startswith("tiny -> fast")]
    waits = [later - sooner for sooner, later in itertools.pairwise(climbs)]
    assert waits[0] < 3 * QUIET
    assert all(b > 1.5 * a for a, b in itertools.pairwise(waits[:5]))
    assert LONGEST_WAIT <= waits[-1] < LONGEST_WAIT + 10


def test_a_climb_that_held_makes_the_next_one_as_quick_as_the_first() -> None:
    stream = Stream()
    for _ in range(3):
        stream.run(3, 2.0)
        stream.run(QUIET + 1, 1.0)
        assert stream.policy.rung == FAST
        stream.run(QUIET, 1.0)


def test_the_last_rung_stays_however_slow() -> None:
    stream = Stream()
    stream.run(60, 100)
    assert stream.policy.rung == SECOND
    assert len(stream.changes) == 3


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 15), st.floats(0.1, 50)), max_size=8))
def test_no_two_changes_within_two_seconds(phases: list[tuple[float, float]]) -> None:
    stream = Stream()
    for seconds, slowdown in phases:
        stream.run(seconds, slowdown)
    moments = [0.0, *(when for when, _ in stream.changes)]
    assert all(b - a >= TOO_SLOW for a, b in itertools.pairwise(moments))
    assert 0 <= stream.policy.current < len(RUNGS)
