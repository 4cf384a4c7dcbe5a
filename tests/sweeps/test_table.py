"""The rows of a sweep's jobs, whatever became of them, and the best configuration."""

import json
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.distill.lock import sole_writer
from kd_lightning.sweeps import table
from kd_lightning.sweeps.plots import points
from kd_lightning.sweeps.table import (
    SweepTable,
    best_line,
    job_folders,
    job_rows,
    results,
    sweep_table,
)

SCORES = {"valid": {"n": 1, "student": {"psnr_y": 30.0}, "bicubic": {"psnr_y": 29.0}}}
OVERRIDES = ["loss.alpha=0.5", "+callbacks.mine={folder: '${run_folder}'}"]


def job(folder: Path, *, scores: dict | None = None, **marks: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(OVERRIDES), folder / ".hydra" / "overrides.yaml")
    for name, text in marks.items():
        (folder / f"{name}.txt").write_text(text)
    if scores is not None:
        (folder / "metrics.json").write_text(json.dumps(scores))
        (folder / "student.safetensors").touch()
    return folder


def test_a_failed_job_is_the_status_of_a_sweep_whose_plots_fail_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no plots today")

    monkeypatch.setattr(table, "write_plots", broken)
    job(tmp_path / "0", scores=SCORES)
    job(tmp_path / "1", failed="its reason")
    hydra = {"sweep": {"dir": str(tmp_path)}, "runtime": {"config_sources": []}}
    cfg = {"hydra": hydra, "metrics": {"extra": {}}}
    with pytest.raises(SystemExit) as ended:
        SweepTable().on_multirun_end(OmegaConf.create(cfg))
    assert ended.value.code == 2


@pytest.mark.parametrize("mark", ["failed", "pruned"])
def test_a_job_without_results_says_why(tmp_path: Path, mark: str) -> None:
    (row,) = job_rows(job(tmp_path / "3", **{mark: "its reason"}))
    assert row == {"job": "3", "overrides": OVERRIDES, mark: "its reason"}


def test_a_finished_job_that_failed_when_tried_again_keeps_its_scores(tmp_path: Path) -> None:
    (row,) = job_rows(job(tmp_path / "3", scores=SCORES, failed="no such [folder]"))
    assert (row["failed"], row["set"], row["psnr_y"]) == ("no such [folder]", "valid", 30.0)
    table = sweep_table([row], OmegaConf.create({"metrics": {"extra": {}}}))
    assert next(iter(table.columns[3].cells)) == r"valid failed: no such \[folder]"


def test_a_job_killed_before_its_artifact_has_no_results(tmp_path: Path) -> None:
    folder = job(tmp_path / "3", scores=SCORES)
    (folder / "student.safetensors").unlink()
    assert results(folder) is None
    assert job_rows(folder)[0]["failed"] == "ended without results"


def test_a_finished_job_has_a_row_for_each_test_set(tmp_path: Path) -> None:
    rows = job_rows(job(tmp_path / "3", scores={**SCORES, "set5": SCORES["valid"]}))
    assert [(row["set"], row["psnr_y"]) for row in rows] == [("valid", 30.0), ("set5", 30.0)]


def test_a_score_without_a_number_is_an_empty_cell_and_no_point(tmp_path: Path) -> None:
    scores = {"valid": {"n": 1, "student": {"psnr_y": None, "ssim_rgb": 1.0, "ssim_y": 1.0}}}
    rows = job_rows(job(tmp_path / "3", scores=scores))
    table = sweep_table(rows, OmegaConf.create({"metrics": {"extra": {}}}))
    assert [next(iter(column.cells)) for column in table.columns][-3:] == ["1.0000", "", "1.0000"]
    assert points(rows, "valid", "psnr_y") == []
    assert len(points(rows, "valid", "ssim_rgb")) == 1


def test_a_job_of_a_living_process_is_running_and_of_a_killed_one_not(tmp_path: Path) -> None:
    folder = job(tmp_path / "3")
    ready, held = os.pipe()
    if (pid := os.fork()) == 0:
        with sole_writer(folder):
            os.write(held, b"x")
            signal.pause()
    os.read(ready, 1)
    try:
        assert job_rows(folder)[0]["running"].startswith(f"process {pid} on ")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert "running" not in job_rows(folder)[0]


def test_jobs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "0"):
        job(tmp_path / name)
    assert [folder.name for folder in job_folders(tmp_path)] == ["0", "9", "10"]


def test_the_best_configuration_is_the_best_mean_over_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py"])
    scores = {("0.5", 0): 0.90, ("0.5", 1): 0.94, ("0.7", 0): 0.95, ("0.7", 1): 0.88}
    rows = [
        {"job": str(n), "overrides": [f"loss.alpha={a}", f"seed={s}", "name=a b"], "score": score}
        for n, ((a, s), score) in enumerate(scores.items())
    ]
    rows.append({"job": "4", "overrides": ["loss.alpha=7"], "failed": "out of range"})
    said = best_line(rows, "max")
    assert said is not None
    assert "job 0, 1: 0.9200 ± 0.0283" in said
    assert said.endswith("python train.py loss.alpha=0.5 'name=a b'")
    own = best_line(rows, "max", "my conf")  # a package's own configuration
    assert own is not None
    assert own.endswith("python train.py --config-dir 'my conf' loss.alpha=0.5 'name=a b'")
    lowest = best_line(rows, "min")
    assert lowest is not None and "job 2, 3" in lowest
    assert best_line(rows[4:], "max") is None
