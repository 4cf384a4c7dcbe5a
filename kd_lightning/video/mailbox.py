"""Room for one item between two threads: the newest replaces what nobody took."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """What lies between a stage and a slower one, so that the slower one is never behind: it drops.

    Attributes:
        dropped: items that were replaced before anybody took them.
        closed: no further item comes.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.closed = False
        self._items: list[T] = []  # one at most
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Lay `item` in, in place of what lies there; never waits. False, and nothing is laid in,
        once the mailbox is closed."""
        with self._changed:
            if self.closed:
                return False
            self.dropped += len(self._items)
            self._items = [item]
            self._changed.notify_all()
            return True

    def take(self, timeout: float | None = None) -> T | None:
        """Wait for an item and take it out; None where the mailbox is closed and empty.

        Raises:
            TimeoutError: nothing came within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self.closed, timeout):
                raise TimeoutError
            return self._items.pop() if self._items else None

    def close(self) -> None:
        """Nothing is laid in any more; what lies there can still be taken."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
