"""How a process leaves the group of those that worked with it."""

import atexit

from torch import distributed


def leave() -> None:
    """Leave torch's process group, where this process is in one: its threads end."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def leave_at_exit() -> None:
    """Leave it when the program ends, which Lightning does for NCCL alone: a thread of the group
    that is still there while Python is being taken down may end the program with an abort."""
    atexit.unregister(leave)
    atexit.register(leave)
