"""`python train.py` as a process: sweeps stay apart, a killed run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kd_lightning.models.artifact import load_artifact
from tests.runs import ROOT, TINY

pytestmark = pytest.mark.slow


def command(photos: Path, *overrides: str, options: tuple[str, ...] = ()) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "train.py"), *options, "experiment=kd_div2k"),
        *("data=photos", f"data.root={photos}", "teacher=folder", *TINY, *overrides),
    ]


def swept(folder: Path, photos: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """A sweep that was started in `folder`, at its end."""
    words = command(photos, *overrides, options=("-m",))
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


def test_jobs_of_a_sweep_are_never_merged(tmp_path: Path, photos: Path) -> None:
    words = ("sweep=alpha", "trainer.max_epochs=1", "name=alpha")
    result = swept(tmp_path, photos, *words)
    assert result.returncode == 0, result.stderr
    (sweep,) = (tmp_path / "logs" / "alpha").iterdir()
    runs = [sweep / str(job) for job in range(4)]
    for run in runs:
        assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        assert len(list((run / "wandb").glob("offline-run-*"))) == 1
    assert len({(run / "wandb_id").read_text() for run in runs}) == 4
    alphas = [load_artifact(run / "student.safetensors")[1]["loss"]["alpha"] for run in runs]
    assert alphas == [0.5, 0.7, 0.85, 1.0]

    rows = json.loads((sweep / "sweep.json").read_text())
    assert [(row["job"], row["set"]) for row in rows] == [(str(job), "valid") for job in range(4)]
    assert "loss.alpha=0.5" in rows[0]["overrides"]
    assert "loss.alpha=1.0" in rows[3]["overrides"]
    for row, run in zip(rows, runs, strict=True):
        metrics = json.loads((run / "metrics.json").read_text())
        assert row["psnr_y"] == metrics["valid"]["student"]["psnr_y"]
    assert "loss.alpha=0.5" in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("loss.alpha=0.5,1.0", "hydra.sweeper.max_batch_size=0"),
        ("sweep=optuna", "hydra.sweeper.n_jobs=0"),
        ("sweep=optuna", "hydra.sweeper.n_trials=0"),
    ],
)
def test_a_sweep_that_would_never_launch_a_job_is_one_line(
    words: tuple[str, str], tmp_path: Path, photos: Path
) -> None:
    result = swept(tmp_path, photos, *words)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == f"error: {words[1]}: give at least 1"


def test_a_sweep_with_a_failed_job_keeps_its_table_and_the_other_jobs(
    tmp_path: Path, photos: Path
) -> None:
    words = ("loss.alpha=0.5,7,0.85", "trainer.max_epochs=1", "logger=csv", "hydra.sweep.dir=sweep")
    result = swept(tmp_path, photos, *words)
    reason = "loss.alpha=7 is outside [0, 1]"
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert said[0] == f"error: job 1: {reason}"
    assert said[1] == (
        "error: 1 of 3 jobs failed (1); see the table; sweep.resume=sweep tries them again"
    )
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [row["job"] for row in rows] == ["0", "1", "2"]
    assert [row.get("failed") for row in rows] == [None, reason, None]
    assert all(rows[job]["psnr_y"] > 0 for job in (0, 2))
    assert "failed:" in result.stdout


def test_other_values_never_get_into_the_folder_of_a_sweep(tmp_path: Path, photos: Path) -> None:
    """They are refused, and the sweep itself stays as it was, to the word; longer training goes
    on, and what a mark of an earlier try says is gone once a job proves to be done."""

    def started(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "train.py"), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    words = ("loss.alpha=0.5,0.85", "trainer.max_epochs=1", "logger=csv", "scheduler=step")
    first = command(photos, *words, "hydra.sweep.dir=sweep", options=("-m",))[2:]
    assert started(*first).returncode == 0
    files = ["command.json", "0/.hydra/config.yaml", "1/.hydra/overrides.yaml", "1/metrics.json"]
    before = [(tmp_path / "sweep" / file).read_text() for file in files]
    for changed, said in (
        ("loss.alpha=0.7,0.85", "sweep/0: holds the job of "),
        ("+data.subset=1", "sweep/0: holds the job of "),
        ("trainer.max_epochs=abc", "error: trainer.max_epochs=abc: give a whole number"),
        ("trainer.max_epochs=0", "error: trainer.max_epochs=0: give at least 1"),
        ("+callbacks.best.mod=min", "error: unknown key callbacks.best.mod"),
    ):
        refused = started("sweep.resume=sweep", changed)
        assert refused.returncode == 2
        assert said in refused.stderr.splitlines()[-1]
        assert not list((tmp_path / "sweep").glob("*/failed.txt"))
        assert [(tmp_path / "sweep" / file).read_text() for file in files] == before
    (tmp_path / "sweep" / "1" / "failed.txt").write_text("of an earlier try\n")
    done = started("sweep.resume=sweep")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before: ") == 2
    longer = started("sweep.resume=sweep", "trainer.max_epochs=2")
    assert longer.returncode == 0, longer.stderr
    assert (tmp_path / "sweep" / "1" / "metrics.json").read_text() != before[-1]
    assert "trainer.max_epochs=2" in (tmp_path / "sweep" / "command.json").read_text()
    shorter = started("sweep.resume=sweep", "trainer.max_epochs=1")
    assert shorter.returncode == 2
    assert "is in epoch 2 already; give at least that" in shorter.stderr.splitlines()[-1]
    assert "trainer.max_epochs=2" in (tmp_path / "sweep" / "command.json").read_text()
    assert "trainer.max_epochs=2" in (tmp_path / "sweep/0/.hydra/overrides.yaml").read_text()


def test_a_killed_run_continues_to_the_same_result(tmp_path: Path, photos: Path) -> None:
    options = ("logger=csv", "trainer.max_epochs=40", "callbacks.last.every_n_train_steps=1")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    last = killed / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command(photos, f"hydra.run.dir={killed}", *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    while not last.exists():
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "metrics.json").exists()

    for folder, extra in ((killed, (f"ckpt_path={last}",)), (whole, (f"hydra.run.dir={whole}",))):
        subprocess.run(
            command(photos, *options, *extra), cwd=tmp_path, check=True, capture_output=True
        )
        assert (folder / "metrics.json").exists()
    assert (killed / "metrics.json").read_text() == (whole / "metrics.json").read_text()
