"""One writer for each run folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from kd_lightning.distill.marks import Busy

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"  # in a run folder; stays, for removing it would let two processes hold it


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold `folder`, until this process ends in whatever way.

    A record lock (POSIX): the system releases it with the process, a killed one's too, and
    children of a fork do not inherit it. On file systems without locks nothing is held.

    Raises:
        Busy: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        if not _locked(file):
            raise Busy(f"{folder} is being written by {_holder(file)}: wait for it, or end it")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait until this process alone holds `file`, which is made and stays."""
    with file.open("a+") as held:
        if fcntl is not None:
            with suppress(OSError):  # the file system has no locks
                fcntl.lockf(held, fcntl.LOCK_EX)
        yield


def holder(folder: Path) -> str | None:
    """Which other process writes into `folder`; None where no living one does. Not to be asked by
    the one that does: by looking it would let go."""
    try:
        with (folder / LOCK).open("r+") as file:
            return None if _locked(file) else _holder(file)
    except OSError:
        return None


def _locked(file: IO[str]) -> bool:
    """Whether this process holds the lock of `file` from now on."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # the file system has no locks
        return True
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read(200).strip() or "another process"
