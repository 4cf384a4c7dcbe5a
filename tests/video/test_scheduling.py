"""No encoder leaves threads behind that starve all others."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from kd_lightning.video.frame import Frame
from kd_lightning.video.scheduling import ordinary_scheduling
from kd_lightning.video.writer import Encoding, Writer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the scheduler of Linux")
SCHEDULERS = "import os; print(os.sched_getscheduler(0))"


def policies() -> set[int]:
    """Of all threads of this process."""
    return {os.sched_getscheduler(int(name)) for name in os.listdir("/proc/self/task")}


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "ffv1"])
def test_no_encoder_makes_threads_or_later_programs_real_time(codec: str, tmp_path: Path) -> None:
    before = policies()
    with Writer(tmp_path / "out.mkv", Encoding(codec)) as writer:
        writer.write(Frame(np.zeros((64, 64, 3), np.uint8), 0, Fraction(1, 30)))
        assert policies() == before
        started = subprocess.run([sys.executable, "-c", SCHEDULERS], capture_output=True, text=True)
    assert int(started.stdout) == os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_thread_that_was_real_time_before_stays_so() -> None:
    ordinary = os.sched_param(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pytest.skip("may not make a thread real-time")
    try:
        with ordinary_scheduling():
            pass
        assert os.sched_getscheduler(0) == os.SCHED_FIFO
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, ordinary)
