"""What an encoder does to the threads of the process, undone."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def ordinary_scheduling() -> Iterator[None]:
    """Threads that become real-time in this context are ordinary ones again at its end.

    SVT-AV1, where root runs it, schedules its threads and the one that opens it by SCHED_FIFO at
    99. All that this thread starts from then on inherits it, other programs too, and on a machine
    of few cores nothing else runs while they do.
    """
    before = _real_time()
    try:
        yield
    finally:
        for thread in _real_time() - before:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time() -> set[int]:
    """Threads of this process, on Linux."""
    if sys.platform != "linux":
        return set()
    found = set()
    for name in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(int(name)) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(int(name))
    return found
