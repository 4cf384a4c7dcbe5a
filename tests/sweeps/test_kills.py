"""Sweeps that are killed, and that several processes share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import ROOT

pytestmark = pytest.mark.slow


def module(name: str, *words: str) -> str:
    """What `python -m tests.sweeps.NAME` prints: its runs are forks, without this process's
    threads."""
    result = subprocess.run(
        [sys.executable, "-m", f"tests.sweeps.{name}", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.parametrize("kind", ["grid", "study"])
def test_killed_at_random_moments_and_resumed_a_sweep_ends_with_the_same_jobs_and_table(
    kind: str, tmp_path: Path
) -> None:
    """Three kills; `experiments/sweeps` has twenty."""
    said = module("kills", str(tmp_path), "3", "5", "16", kind)
    assert said.startswith(f"{kind}: 3 kills")


def test_two_processes_share_a_study_and_a_failed_trial_is_not_its_end(
    tmp_path: Path, photos: Path
) -> None:
    said = json.loads(module("shared", str(tmp_path), str(photos)))
    first, second = said["ran"]
    assert sorted([*first, *second]) == ["0", "1", "2", "3", "4", "5"]  # each once
    assert first and second
    failed = {job for jobs in said["failed"] for job in jobs}
    assert failed == {row["job"] for row in said["rows"] if "failed" in row}
    assert 0 < len(failed) < 6
    assert all(row["score"] > 0 for row in said["rows"] if row["job"] not in failed)
    assert said["codes"][2] == 2
