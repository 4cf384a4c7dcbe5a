"""Runs of train.py as forks of a process that has imported everything but has computed nothing:
they go through the whole command without the seconds that imports take."""

import os
import runpy
import sys
import traceback
from pathlib import Path

import torch

import kd_lightning.distill.jobs
import kd_lightning.sweeps.journal
import kd_lightning.sweeps.table  # noqa: F401  (what a run imports)
from tests.runs import ROOT


def start(log: Path, *words: str) -> int:
    """A run of train.py with these arguments; returns its process."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        torch.set_num_threads(1)
        sys.argv = [str(ROOT / "train.py"), *words]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """The exit status of a run; minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
