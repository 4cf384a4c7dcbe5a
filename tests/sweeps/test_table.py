"""The rows of a sweep's jobs, whatever became of them, and the best configuration."""

import json
import os
import signal
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from rich.markup import escape

from kd_lightning.distill.lock import sole_writer
from kd_lightning.sweeps import table
from kd_lightning.sweeps.plots import points
from kd_lightning.sweeps.table import (
    SweepTable,
    best_line,
    best_lines,
    job_folders,
    job_rows,
    results,
    sweep_table,
)
from tests.runs import CONF

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


def scored(job: int, *words: str, score: float | None, monitor: str = "val/ssim") -> dict:
    row = {"job": str(job), "overrides": [*words], "score": score}
    return {**row, "monitor": monitor, "mode": "max"}


def test_the_best_configuration_is_the_best_mean_over_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py"])
    scores = {("0.5", 0): 0.90, ("0.5", 1): 0.94, ("0.7", 0): 0.95, ("0.7", 1): 0.88}
    rows = [
        scored(n, f"loss.alpha={alpha}", f"seed={seed}", "name=a b", score=score)
        for n, ((alpha, seed), score) in enumerate(scores.items())
    ]
    said = best_line(rows, "max")
    assert "job 0, 1: 0.9200 ± 0.0283" in said
    assert said.endswith("python train.py loss.alpha=0.5 'name=a b'")
    own = best_line(rows, "max", "my conf")  # a package's own configuration
    assert own.endswith("python train.py --config-dir 'my conf' loss.alpha=0.5 'name=a b'")
    assert "job 2, 3" in best_line(rows, "min")
    failed = {"job": "4", "overrides": ["loss.alpha=7"], "failed": "out of range"}
    assert best_lines([*rows, failed]) == [said]
    assert best_lines([failed]) == []


def test_a_seed_that_the_best_jobs_share_is_part_of_their_configuration() -> None:
    rows = [scored(n, "seed=5", f"a={n}", score=n / 10) for n in range(3)]
    assert best_line(rows, "max").endswith(" seed=5 a=2")


def test_scores_of_different_metrics_are_not_compared() -> None:
    """Each has a best job of its own, and the table names it beside the score."""
    rows = [
        scored(0, "a=0", score=36.8, monitor="val/psnr_y"),
        scored(1, "a=1", score=0.92),
        scored(2, "a=2", score=0.94),
    ]
    lines = [line.splitlines()[0].split() for line in best_lines(rows)]
    assert lines == [
        ["best", "val/psnr_y", "job", "0:", "36.8000"],
        ["best", "val/ssim", "job", "2:", "0.9400"],
    ]
    table = sweep_table(
        [{**row, "set": "valid"} for row in rows], OmegaConf.create({"metrics": {"extra": {}}})
    )
    assert table.columns[2].header == "best score"
    assert next(iter(table.columns[2].cells)) == "36.8000 val/psnr_y"


def test_what_a_job_monitors_is_read_from_its_configuration(tmp_path: Path) -> None:
    folder = job(tmp_path / "3", scores={})
    best = {"monitor": "val/psnr_y", "mode": "min"}
    config = OmegaConf.create({"callbacks": {"best": best}})
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    (row,) = job_rows(folder)
    assert {**row, **best} == row


def test_a_finished_job_without_a_test_set_is_a_row_with_its_validation_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "objective", lambda _: 0.875)
    (row,) = job_rows(job(tmp_path / "3", scores={}))
    shown = sweep_table([row], OmegaConf.create({"metrics": {"extra": {}}}))
    cells = [next(iter(column.cells)) for column in shown.columns]
    assert cells == ["3", "\n".join(map(escape, OVERRIDES)), "0.8750", "none", "", "", ""]
    (line,) = best_lines([row])
    assert "job 3: 0.8750" in line


def test_the_best_line_has_the_words_of_a_user_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Square brackets are lists here, and no markup."""
    monkeypatch.setattr(table, "objective", lambda _: 0.875)
    folder = job(tmp_path / "[b]" / "0", scores=SCORES)
    OmegaConf.save(OmegaConf.create(["data.train=[a],[b]"]), folder / ".hydra/overrides.yaml")
    hydra = {"sweep": {"dir": str(folder.parent)}, "runtime": {"config_sources": []}}
    cfg = {"hydra": hydra, "metrics": {"extra": {}}}
    SweepTable().on_multirun_end(OmegaConf.create(cfg))
    said = capsys.readouterr().out
    assert "'data.train=[a],[b]'" in said
    assert f"sweep folder  {folder.parent}\n" in said


def test_all_jobs_of_a_sweep_lie_in_one_folder_whatever_they_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's name may hold `name`, which an experiment changes."""
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", return_hydra_config=True)
        SweepTable().on_multirun_start(config)
        loader = GlobalHydra.instance().config_loader()
        words = ("name=other", "experiment=quickstart", "seed=3")
        jobs = [loader.load_sweep_config(config, [word]) for word in words]
    folder = config.hydra.sweep.dir
    assert folder.startswith("logs/train/sweep_")
    assert [job.hydra.sweep.dir for job in jobs] == [folder] * len(words)
