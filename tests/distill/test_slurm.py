"""Two processes as srun starts them: one run folder, and a requeued job goes on by itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.config import run_dir
from tests.distill.test_processes import (
    AT_EXIT,
    OPTIONS,
    TWO,
    assert_close,
    assert_no_thread_is_left,
)
from tests.distill.test_resume import assert_same_run
from tests.runs import ROOT, TINY

STEP = {
    "SLURM_JOB_ID": "71",
    "SLURM_JOB_NAME": "train",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NODEID": "0",
    "MASTER_ADDR": "127.0.0.1",
}


def srun(folder: Path, photos: Path, *options: str, restarts: int = 0) -> tuple[int, str]:
    """train.py twice, with the environment that srun gives; the worst status and what it said."""
    words = [
        "data=photos",
        "teacher=folder",
        *TINY,
        *OPTIONS,
        f"data.root={photos}",
        *TWO,
        *options,
    ]
    log = folder / f"log_{restarts}"
    with log.open("w") as output:
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    str(ROOT / "train.py"),
                    *words,
                    "logger=csv",
                    "name=slurm",
                ],
                env={
                    **os.environ,
                    **STEP,
                    "SLURM_PROCID": str(rank),
                    "SLURM_LOCALID": str(rank),
                    "SLURM_RESTART_COUNT": str(restarts),
                    "PYTHONPATH": str(ROOT),
                    "OMP_NUM_THREADS": "1",
                },
                cwd=folder,
                stdout=output,
                stderr=output,
            )
            for rank in range(2)
        ]
        codes = [process.wait(timeout=900) for process in processes]
    return max(map(abs, codes)), log.read_text()


@pytest.mark.slow
def test_a_requeued_job_of_two_tasks_goes_on_in_its_one_folder(
    tmp_path: Path, photos: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    status, said = srun(whole, photos, AT_EXIT)
    assert status == 0, said[-3000:]
    assert_no_thread_is_left(said)
    (undisturbed,) = (whole / "logs" / "slurm").iterdir()
    assert undisturbed.name == "slurm_71_0"
    dies = "+callbacks.dies={_target_: tests.distill.planted.Dies, rank: 0, step: 5}"
    status, _ = srun(tmp_path, photos, AT_EXIT, dies)
    assert status != 0
    status, said = srun(tmp_path, photos, AT_EXIT, restarts=1)
    assert status == 0, said[-3000:]
    assert_no_thread_is_left(said)
    assert "resumes at step 4" in said
    (run,) = (tmp_path / "logs" / "slurm").iterdir()
    assert_same_run(run, undisturbed)
    assert_close(run, undisturbed)


def test_the_tasks_of_a_step_share_a_name_and_a_single_task_has_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    assert run_dir("x", None, "noon") == "logs/x/slurm_71_0"
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert run_dir("x", None, "noon") == "logs/x/noon"
