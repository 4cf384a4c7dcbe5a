"""Run folders are read as they were written, and damaged ones are named and skipped."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kd_lightning.distill import jobs
from kd_lightning.distill.loggers import RunCSVLogger
from kd_lightning.distill.run import train
from kd_lightning.runs import read
from kd_lightning.runs.read import Curve, find_runs, natural, read_curves, resolve
from tests.runs import ROOT, tiny_run

EVIDENCE = ROOT / "experiments" / "small_runs" / "alpha_0.5"


def copied(folder: Path, **files: str) -> Path:
    """A run folder, with some of its files replaced."""
    shutil.copytree(EVIDENCE, folder)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_every_committed_experiment_is_read() -> None:
    runs, damaged = find_runs(ROOT / "experiments")
    assert damaged == []
    assert len(runs) == len(list((ROOT / "experiments").glob("**/config.yaml"))) >= 30
    (run,) = (run for run in runs if run.folder == EVIDENCE)
    assert run.state == "finished"
    assert "loss.alpha=0.5" in run.overrides
    assert run.config["loss.alpha"] == 0.5
    assert run.config["data.test.valid"] == "../shared/data/photos/valid_HR"
    expected = json.loads((EVIDENCE / "metrics.json").read_text())
    assert run.results == expected
    assert run.best() == pytest.approx((expected["valid"]["student"]["ssim_rgb"], 999), abs=2e-4)


@pytest.mark.slow
def test_a_run_that_training_left_is_read_with_its_images(tmp_path: Path, photos: Path) -> None:
    train(tiny_run(tmp_path / "run", photos))
    (tmp_path / "run" / ".hydra").mkdir()
    OmegaConf.save(tiny_run(tmp_path / "run", photos), tmp_path / "run" / ".hydra" / "config.yaml")
    (run,), damaged = find_runs(tmp_path)
    assert damaged == []
    assert run.state == "finished"
    assert len(run.curves["val/ssim"].values) == 2
    assert any(image.name.startswith("test_valid") for image in run.images)
    assert run.config["callbacks.best.dirpath"] == f"{tmp_path}/run/checkpoints"


def test_unfinished_failed_and_pruned_runs_are_told_apart(tmp_path: Path) -> None:
    for name in ("killed", "failed", "pruned"):
        (copied(tmp_path / name) / "metrics.json").unlink()
    (tmp_path / "failed" / jobs.FAILED).write_text("loss.alpha=7 is outside [0, 1]\n")
    (tmp_path / "pruned" / jobs.PRUNED).write_text("worse than the others at step 100\n")
    failed, killed, pruned = find_runs(tmp_path)[0]
    assert (pruned.state, pruned.pruned) == ("pruned", "worse than the others at step 100")
    assert (killed.state, killed.failed) == ("unfinished", None)
    assert (failed.state, failed.failed) == ("failed", "loss.alpha=7 is outside [0, 1]")


def test_a_try_that_failed_after_the_end_of_a_run_is_failed(tmp_path: Path) -> None:
    (copied(tmp_path / "run") / jobs.FAILED).write_text("cannot go on with another loss.alpha\n")
    (run,), _ = find_runs(tmp_path)
    assert run.state == "failed"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.yaml", None, "no config.yaml, in .hydra or beside the metrics"),
        ("config.yaml", "a: [1", "its YAML is damaged"),
        ("config.yaml", "just words", "config.yaml is no configuration"),
        ("config.yaml", "a: &x {b: 1}\nc: *x\n", "config.yaml has aliases"),
        ("config.yaml", "\n".join(f"k{n}: 0" for n in range(20_000)), "more than 5000 keys"),
        ("config.yaml", "a: " + "{a: " * 30 + "1" + "}" * 30, "config.yaml is no configuration"),
        ("overrides.yaml", "a: 1", "overrides.yaml is no list"),
        ("metrics.json", '{"set5": {"n": 5', "metrics.json is damaged"),
        ("metrics.json", "[1]", "metrics.json holds no results"),
        ("metrics.csv", "a,b\n1,2\n", "metrics.csv has no column named step"),
        ("metrics.csv", "a,step\n1,2,3\n", "metrics.csv: line 2 has another number of columns"),
        ("metrics.csv", "a,step\n1,-3\n", "metrics.csv: line 2 has no step"),
        ("metrics.csv", "a,step\nwords,3\n", "could not convert"),
        ("metrics.csv", b"\xff\xfe\x00\x81", "metrics.csv is no text"),
    ],
)
def test_a_damaged_folder_is_named_and_skipped(
    tmp_path: Path, name: str, content: str | bytes | None, reason: str
) -> None:
    copied(tmp_path / "good")
    bad = copied(tmp_path / "bad")
    if content is None:
        (bad / name).unlink()
    else:
        (bad / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (run,), (damaged,) = find_runs(tmp_path)
    assert run.folder == tmp_path / "good"
    assert damaged.folder == bad
    assert reason in damaged.reason


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(tmp_path / "run")
    monkeypatch.setattr(read, "LARGEST", 4 * 2**10)
    assert "is larger than" in find_runs(tmp_path)[1][0].reason


def test_other_folders_are_no_runs(tmp_path: Path) -> None:
    """A W&B folder inside a run, a preparation, a sweep's own folder."""
    run = copied(tmp_path / "sweep" / "0")
    files = run / "wandb" / "offline-run-1" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("a: {value: 1}\n")
    (files / "metrics.json").write_text("{}")
    (tmp_path / "sweep" / "multirun.yaml").write_text("a: 1\n")
    (tmp_path / "prepare" / ".hydra").mkdir(parents=True)
    (tmp_path / "prepare" / ".hydra" / "config.yaml").write_text("data: {root: x}\n")
    runs, damaged = find_runs(tmp_path)
    assert ([run.folder for run in runs], damaged) == ([run], [])


def test_a_line_that_is_still_being_written_is_left_out() -> None:
    assert read_curves("a,step\n0.5,9\n0.25,1") == {"a": Curve([9], [0.5])}


def test_values_that_no_curve_can_show_are_left_out() -> None:
    text = "a,b,step\nnan,1,0\ninf,,1\n2,,2\n"
    assert read_curves(text) == {"a": Curve([2], [2.0]), "b": Curve([0], [1.0])}


def test_the_environment_is_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    config = {"a": "${oc.env:SECRET}", "b": "x/${a}", "c": "${d}", "d": "${c}", "e": ["${f}"]}
    assert resolve({**config, "f": 3}) == {
        **{"a": "${oc.env:SECRET}", "b": "x/${oc.env:SECRET}"},
        **{"c": "${c}", "d": "${c}", "e": [3], "f": 3},
    }


def test_references_cannot_explode() -> None:
    chain = {f"k{n}": f"${{k{n + 1}}}" * 100 for n in range(20)}
    longest = max(map(len, resolve({**chain, "k20": "0123456789"}).values()))
    assert longest <= 100 * 100 * 10


def test_jobs_sort_by_their_numbers() -> None:
    assert sorted(["s/10", "s/9", "s/a"], key=natural) == ["s/9", "s/10", "s/a"]


values = st.dictionaries(st.sampled_from("abcd"), st.floats(-1e9, 1e9), min_size=1)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(values, min_size=1, max_size=20))
def test_curves_are_what_the_logger_was_given(
    rows: list[dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    logger = RunCSVLogger(str(folder))
    for step, row in enumerate(rows):
        logger.log_metrics(row, step)
    logger.save()
    expected = {
        name: Curve(
            [step for step, row in enumerate(rows) if name in row],
            [row[name] for row in rows if name in row],
        )
        for name in {name for row in rows for name in row}
    }
    assert read_curves((folder / "metrics.csv").read_text()) == expected
