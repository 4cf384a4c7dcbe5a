"""Newest wins, and nothing waits for a slow taker."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.video.mailbox import Mailbox


@settings(deadline=None)
@given(st.lists(st.sampled_from(["put", "take"]), max_size=40))
def test_an_item_is_taken_once_or_counted_as_dropped_and_the_newest_is_taken(
    steps: list[str],
) -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int] = []
    put = 0
    for step in steps:
        if step == "put":
            put += 1
            mailbox.put(put)
            continue
        try:
            item = mailbox.take(0)
        except TimeoutError:
            continue
        assert item == put, "an older one was kept"
        taken.append(item)
    mailbox.close()
    left = mailbox.take()
    assert put == len(taken) + mailbox.dropped + (left is not None)
    assert taken == sorted(set(taken))


def test_the_last_item_outlives_closing_and_nothing_enters_after_it() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.put("last")
    mailbox.close()
    assert not mailbox.put("later")
    assert mailbox.take() == "last"
    assert mailbox.take() is None


def test_waiting_in_vain_is_not_the_end() -> None:
    mailbox: Mailbox[str] = Mailbox()
    with pytest.raises(TimeoutError):
        mailbox.take(0.01)


def test_closing_wakes_who_waits() -> None:
    mailbox: Mailbox[str] = Mailbox()
    results: list[str | None] = []
    waiting = threading.Thread(target=lambda: results.append(mailbox.take()))
    waiting.start()
    mailbox.close()
    waiting.join(5)
    assert results == [None]


def test_a_fast_giver_never_waits_for_a_slow_taker() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def slow() -> None:
        while (item := mailbox.take()) is not None:
            taken.append(item)
            time.sleep(0.05)

    taker = threading.Thread(target=slow)
    taker.start()
    start = time.monotonic()
    for number in range(1, 101):
        mailbox.put(number)
        time.sleep(0.001)
    mailbox.close()
    assert time.monotonic() - start < 2, "a giver that waits takes five seconds"
    taker.join(5)
    assert taken[-1] == 100
    assert len(taken) + mailbox.dropped == 100
    assert mailbox.dropped > 0
