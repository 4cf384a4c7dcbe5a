"""Jobs of a sweep in processes of their own: joblib's, and submitit's as SLURM would run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import ROOT
from tests.sweeps.kills import SMALL

pytestmark = pytest.mark.slow


def sweep(folder: Path, photos: Path, *words: str) -> list[dict]:
    """The rows of a sweep that train.py runs in `folder`/sweep."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)
    command = (*SMALL, f"data.root={photos}", f"hydra.sweep.dir={folder}/sweep", *words)
    result = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-m", *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "sweep" / "sweep.json").read_text())


def test_joblib_gives_each_job_its_share_of_cores_and_a_preempted_job_of_submitit_ends_the_same(
    tmp_path: Path, photos: Path
) -> None:
    """With submitit's local executor: signalled, checkpointed, started again, resumed."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    threads = (
        "+callbacks.threads={_target_: tests.distill.planted.Threads, folder: '${run_folder}'}"
    )
    several = ("loss.alpha=0.5,0.7", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", threads)
    (tmp_path / "joblib").mkdir()
    rows = sweep(tmp_path / "joblib", photos, *several)
    assert [row["job"] for row in rows] == ["0", "1"]
    share = max(1, (os.cpu_count() or 1) // 2)
    for job in ("0", "1"):
        assert int((tmp_path / "joblib" / "sweep" / job / "threads").read_text()) == share

    taken = "{_target_: tests.distill.planted.Preempted, folder: '${run_folder}', step: 5}"
    (tmp_path / "submitit").mkdir()
    words = ("loss.alpha=0.5", "hydra/launcher=submitit_local", f"+callbacks.preempted={taken}")
    (row,) = sweep(tmp_path / "submitit", photos, *words)
    (log,) = (tmp_path / "submitit" / "sweep" / ".submitit").glob("*/*_0_log.out")
    assert "resumes at step" in log.read_text()
    assert {**row, "overrides": []} == {**rows[0], "overrides": []}
