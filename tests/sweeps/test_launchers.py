"""Jobs of a sweep in processes of their own: joblib's, SLURM's as submitit has them, Ray's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import ROOT
from tests.sweeps.kills import SMALL

pytestmark = pytest.mark.slow


def sweep(folder: Path, photos: Path, *words: str, status: int = 0) -> list[dict]:
    """The rows of a sweep that train.py runs in `folder`/sweep, and ends with `status`."""
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
    assert result.returncode == status, result.stderr[-3000:]
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


def test_a_failed_job_and_a_dead_one_of_ray_are_rows_with_their_reason(
    tmp_path: Path, photos: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="needs the extra ray")
    ray = ("hydra/launcher=ray", "+hydra.launcher.ray.remote.max_retries=0")
    rows = sweep(tmp_path, photos, *ray, "loss.alpha=0.5,7,0.85", status=2)
    assert [row.get("failed") for row in rows] == [None, "loss.alpha=7 is outside [0, 1]", None]
    assert all(row["score"] > 0 for row in rows[::2])
    dies = "+callbacks.dies={_target_: tests.distill.planted.Dies, rank: 0, step: 3}"
    (tmp_path / "dead").mkdir()
    (row,) = sweep(tmp_path / "dead", photos, *ray, "loss.alpha=0.5", dies, status=2)
    assert row["failed"] == "the launcher lost a process (WorkerCrashedError)"
