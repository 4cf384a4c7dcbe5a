"""One writer for each run folder."""

import os
import signal
from pathlib import Path

import pytest

from kd_lightning.distill.lock import holder, sole_writer
from kd_lightning.distill.marks import Busy


def child(folder: Path) -> int:
    """A process that holds `folder`."""
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        with sole_writer(folder):
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    return pid


def test_a_second_writer_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    pid = child(tmp_path)
    try:
        assert (holder(tmp_path) or "").startswith(f"process {pid} on ")
        said = f"is being written by process {pid} on "
        with pytest.raises(Busy, match=said), sole_writer(tmp_path):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_killed_writers_folder_is_free_at_once_though_its_children_live(tmp_path: Path) -> None:
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        with sole_writer(tmp_path):
            if os.fork() == 0:
                signal.alarm(60)
                signal.pause()
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert holder(tmp_path) is None
    with sole_writer(tmp_path):
        pass


def test_a_folder_that_nobody_has_written_to_has_no_writer(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
