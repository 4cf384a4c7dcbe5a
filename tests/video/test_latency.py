"""Quantiles of durations, against numpy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.video.latency import Durations


@settings(deadline=None)
@given(
    st.lists(st.floats(1e-5, 100), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_quantiles_are_those_of_numpy_to_one_percent(seconds: list[float], share: float) -> None:
    durations = Durations()
    for value in seconds:
        durations.add(value)
    exact = np.quantile(seconds, share, method="inverted_cdf")
    assert exact * (1 - 1e-9) <= durations.quantile(share) <= exact * 1.0101
    assert durations.count == len(seconds)
    assert durations.longest == max(seconds)


def test_no_duration_is_zero_everywhere() -> None:
    assert Durations().milliseconds() == {"p50": 0, "p95": 0, "max": 0}


def test_milliseconds_of_known_durations() -> None:
    durations = Durations()
    for value in range(1, 101):
        durations.add(value / 1000)
    assert durations.milliseconds() == {
        "p50": pytest.approx(50, rel=0.01),
        "p95": pytest.approx(95, rel=0.01),
        "max": 100,
    }


def test_memory_does_not_grow_with_the_stream() -> None:
    durations = Durations()
    for number in range(200_000):
        durations.add(0.001 + number % 1000 / 10_000)
    assert len(durations._bins) < 600
