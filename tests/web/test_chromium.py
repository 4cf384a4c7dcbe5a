"""The limit of tests in a browser."""

import time

import pytest

from tests.web.chromium import WITHOUT_GPU, Chromium, time_limit


@pytest.fixture
def other(chromium: Chromium) -> Chromium:
    """A Chromium of its own."""
    return Chromium(chromium.driver, WITHOUT_GPU)


def test_a_browser_that_hangs_is_killed_and_the_next_test_gets_another(other: Chromium) -> None:
    page = other.browser.new_page()
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no end within 1 s"), time_limit(1):
        page.evaluate("for (;;);")
    assert time.monotonic() - start < 20
    try:
        assert other.browser.new_page().evaluate("1 + 1") == 2
    finally:
        other.close()


def test_what_ends_in_time_is_left_alone(other: Chromium) -> None:
    with time_limit(20):
        assert other.browser.is_connected()
    other.close()
