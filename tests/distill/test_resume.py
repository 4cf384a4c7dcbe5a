"""A run that was killed and resumed ends as the undisturbed one, and nothing else is resumed."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.distill.checkpoints import AtomicCheckpointIO
from kd_lightning.distill.results import RESULTS
from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.checkpoint import load_checkpoint
from kd_lightning.models.network import fuse_and_round
from tests.runs import CONF, ROOT, tiny_run

SCHEDULERS = sorted(file.stem for file in (CONF / "scheduler").glob("*.yaml"))
SMALL = (
    *("student=student_fast", "student.width=4", "student.depth=3", "data.crop_size=24"),
    *("trainer.max_epochs=2", "callbacks.last.every_n_train_steps=2", "callbacks.pictures=null"),
)


@pytest.fixture
def snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[list[Path]]:
    """Copies of the run folder as it was right after each last.ckpt, or each checkpoint of another
    pattern: what a kill leaves."""
    pattern = getattr(request, "param", "last.ckpt")
    taken: list[Path] = []
    save = AtomicCheckpointIO.save_checkpoint

    def saved(self: AtomicCheckpointIO, checkpoint: dict, path: str, **kwargs: Any) -> None:
        save(self, checkpoint, path, **kwargs)
        run = Path(path).parent.parent
        if run.name == "whole" and fnmatch(Path(path).name, pattern):
            copy = tmp_path / f"{len(taken)}_step_{checkpoint['global_step']}"
            taken.append(Path(shutil.copytree(run, copy)))

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", saved)
    yield taken


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("callbacks", ["default", "ema"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_killed_run_resumes_to_the_same_tensors_metrics_and_rows(
    scheduler: str,
    callbacks: str,
    precision: str,
    workers: int,
    tmp_path: Path,
    photos: Path,
    snapshots: list[Path],
) -> None:
    options = (
        *(*SMALL, f"scheduler={scheduler}", f"callbacks={callbacks}", f"precision={precision}"),
        f"data.num_workers={workers}",
    )
    whole = tmp_path / "whole"
    train(tiny_run(whole, photos, *options))
    steps = [int(folder.name.rpartition("_")[2]) for folder in snapshots]
    assert set(steps) == {2, 4, 6, 8}  # an epoch has 4 steps
    every = workers == 0 and precision == "fp32"
    for killed in snapshots if every else snapshots[2:3]:
        last = killed / "checkpoints" / "last.ckpt"
        train(tiny_run(killed, photos, *options, f"ckpt_path={last}"))
        assert_same_run(killed, whole)


def test_a_run_killed_in_its_last_epoch_still_validates_its_end(
    tmp_path: Path, photos: Path, snapshots: list[Path]
) -> None:
    """The third epoch is validated as the last one, though every second one is to be."""
    options = (*SMALL, "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2")
    whole = tmp_path / "whole"
    train(tiny_run(whole, photos, *options))
    assert [int(folder.name.rpartition("_")[2]) for folder in snapshots][-3:] == [8, 10, 12]
    for killed in snapshots[-3:]:
        last = killed / "checkpoints" / "last.ckpt"
        train(tiny_run(killed, photos, *options, f"ckpt_path={last}"))
        assert_same_run(killed, whole)


def assert_same_run(ours: Path, theirs: Path) -> None:
    for name in ("metrics.json", "metrics.csv"):
        assert (ours / name).read_text() == (theirs / name).read_text(), f"{ours.name}: {name}"
    (student, meta), (undisturbed, expected) = (
        load_artifact(run / "student.safetensors") for run in (ours, theirs)
    )
    assert meta["config_sha256"] == expected["config_sha256"]
    assert_same(student.state_dict(), undisturbed.state_dict(), ours.name)
    names, expected = (
        {path.name for path in (run / "checkpoints").iterdir()} for run in (ours, theirs)
    )
    assert names == expected, ours.name
    for name in names:
        ckpt, other = (
            torch.load(run / "checkpoints" / name, weights_only=True) for run in (ours, theirs)
        )
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert_same(ckpt[part], other[part], f"{ours.name}: {name}: {part}")


def assert_same(ours: Any, theirs: Any, what: str) -> None:
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), what
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), what
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{what}.{key}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), what
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{what}[{number}]")
    else:
        assert ours == theirs, what


@pytest.mark.parametrize("snapshots", ["*.ckpt"], indirect=True)
@pytest.mark.parametrize(("k", "mode"), [(1, "max"), (2, "max"), (2, "min"), (-1, "max")])
def test_the_best_of_several_kept_checkpoints_is_tested_after_a_kill_too(
    k: int, mode: str, tmp_path: Path, photos: Path, snapshots: list[Path]
) -> None:
    """Scores rise, so by the mode `min` the first is the best and stays so."""
    options = (
        *(*SMALL, f"+callbacks.best.save_top_k={k}", f"callbacks.best.mode={mode}"),
        *("callbacks.best.filename='best_{step}'", "trainer.max_epochs=3"),
    )
    whole = tmp_path / "whole"
    train(tiny_run(whole, photos, *options))
    best = 12 if mode == "max" else 4
    steps = {1: [best], 2: [8, 12] if mode == "max" else [4, 8], -1: [4, 8, 12]}[k]
    kept = {f"best_{step}.ckpt" for step in steps}
    assert {path.name for path in (whole / "checkpoints").iterdir()} == kept | {"last.ckpt"}
    student, metadata = load_artifact(whole / "student.safetensors")
    assert metadata["steps"] == best
    trained, _ = load_checkpoint(whole / "checkpoints" / f"best_{best}.ckpt")
    assert_same(student.state_dict(), fuse_and_round(trained).state_dict(), "artifact")
    for killed in snapshots:
        last = killed / "checkpoints" / "last.ckpt"
        if last.exists():
            train(tiny_run(killed, photos, *options, f"ckpt_path={last}"))
            assert_same_run(killed, whole)


EARLY = (
    "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/psnr_y, mode: min, "
    "patience: 1%s}"
)
STOPS = {
    "at the epoch's end": (EARLY % "",),
    "in the validation": (EARLY % ", check_on_train_epoch_end: false",),
    "every other epoch": (EARLY % "", "trainer.check_val_every_n_epoch=2"),
    "within an epoch": (EARLY % "", "+trainer.val_check_interval=0.5"),
    "before averages are weights": (
        EARLY % ", check_on_train_epoch_end: false",
        "callbacks=ema",
        "callbacks.best=null",
    ),
    "not at all": ((EARLY % "").replace("min", "max"), "trainer.max_epochs=3"),
    "by a callback of one's own": (
        "{_target_: tests.distill.planted.Stops, moment: on_train_epoch_end}",
    ),
    "by another": ("{_target_: tests.distill.planted.Stops, moment: on_validation_end}",),
}


@pytest.mark.parametrize("kind", STOPS)
def test_a_run_that_is_stopped_early_is_so_after_a_kill_and_stays_so(
    kind: str, tmp_path: Path, photos: Path, snapshots: list[Path]
) -> None:
    """Scores rise, so by the mode `min` the second validation ends it."""
    stop, *others = STOPS[kind]
    options = (*SMALL, "trainer.max_epochs=6", f"+callbacks.stop={stop}")
    whole = tmp_path / "whole"
    train(tiny_run(whole, photos, *options, *others))
    last = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] < 24
    for killed in [*snapshots, whole]:
        path = killed / "checkpoints" / "last.ckpt"
        expected = shutil.copytree(whole, tmp_path / "expected", dirs_exist_ok=True)
        train(tiny_run(killed, photos, *options, *others, f"ckpt_path={path}"))
        assert_same_run(killed, expected)


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_goes_on_without_what_has_stopped_it_and_with_it_changed(
    changed: bool, tmp_path: Path, photos: Path
) -> None:
    stop = "+callbacks.stop=" + STOPS["in the validation"][0]
    options = (*SMALL, "trainer.max_epochs=3")
    train(tiny_run(tmp_path, photos, *options, stop))
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 8
    other = [stop.replace("patience: 1", "patience: 5")] if changed else []
    assert stop not in other
    train(tiny_run(tmp_path, photos, *options, *other, f"ckpt_path={last}"))
    assert torch.load(last, weights_only=True)["global_step"] == 12


def test_results_stay_until_a_run_goes_on(stopped: Path, photos: Path, tmp_path: Path) -> None:
    """It may fail before its first step."""
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    results = {name: (run / name).read_bytes() for name in RESULTS}
    options = (*SMALL, "trainer.max_epochs=3", f"ckpt_path={run}/checkpoints/last.ckpt")
    fails = "{_target_: tests.distill.planted.Fails}"
    with pytest.raises(UserError, match="planted"):
        train(tiny_run(run, photos, *options, f"+callbacks.fails={fails}"))
    assert {name: (run / name).read_bytes() for name in RESULTS} == results


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A finished run of two epochs, with Hydra's record of it."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_LIGHTNING_HOME", str(tmp_path_factory.mktemp("home")))
        train(tiny_run(folder, photos, *SMALL))
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text("of the good run\n")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (("student=student_tiny",), r"student\.activation|student\.\w+ \("),
        (("student=student_cnn",), r"student\._target_ \(.*StudentFast before, .*StudentCNN now"),
        (("optimizer.lr=0.3",), r"optimizer\.lr \(0\.001 before, 0\.3 now\)"),
        (("loss.alpha=0.1",), r"loss\.alpha \(0\.85 before, 0\.1 now\)"),
        (("seed=7",), r"data\.seed \(0 before, 7 now\), seed \(0 before, 7 now\)"),
        (("scheduler=onecycle",), r"scheduler\.interval"),
        (("scheduler.make.gamma=0.9",), r"scheduler\.make\.gamma"),
        (("precision=bf16",), r"precision\.lightning"),
        (("callbacks=ema", "callbacks.last.every_n_train_steps=2"), r"callbacks\.ema"),
        (("data.batch_size=1",), r"data\.batch_size"),
        (("data.degradation=bicubic",), r"data\.degradation"),
        (("teacher=none", "loss.teacher_weight=0"), r"loss\.teacher_weight"),
        (("trainer.devices=2",), r"trainer\.devices"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_honoured_is_refused_and_nothing_written(
    stopped: Path, photos: Path, changes: tuple[str, ...], named: str
) -> None:
    before = content(stopped)
    last = stopped / "checkpoints" / "last.ckpt"
    options = [o for o in SMALL if not (changes[0].startswith("student=") and "student" in o)]
    cfg = tiny_run(stopped, photos, *options, f"ckpt_path={last}", *changes)
    with pytest.raises(UserError, match=named) as error:
        train(cfg)
    assert f"init_from={last}" in str(error.value)
    assert content(stopped) == before


def test_a_moved_run_goes_on_where_it_lies_and_says_what_changed(
    stopped: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More epochs with StepLR, other loader processes, another cache."""
    moved, old = tmp_path / "moved", content(stopped)
    shutil.copytree(stopped, moved)
    last = moved / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)["callbacks"]
    (score,) = (s["best_model_score"] for s in state.values() if s.get("monitor"))
    changes = ("trainer.max_epochs=3", f"data.cache_dir={tmp_path}/cache")
    train(tiny_run(moved, photos, *SMALL, f"ckpt_path={last}", *changes))
    said = capsys.readouterr().out
    assert "resumes at step 8 with another data.cache_dir" in said
    assert "trainer.max_epochs (2 before, 3 now)" in said
    assert content(stopped) == old
    state = torch.load(last, weights_only=True)
    assert state["global_step"] == 12
    (best,) = (s for s in state["callbacks"].values() if s.get("monitor"))
    assert best["best_model_path"] == str(moved / "checkpoints" / "best.ckpt")
    assert best["best_model_score"] >= score


def test_a_finished_run_resumed_elsewhere_is_tested_again(
    stopped: Path, photos: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(stopped, moved)
    (moved / "metrics.json").unlink()
    train(tiny_run(moved, photos, *SMALL, f"ckpt_path={moved}/checkpoints/last.ckpt"))
    assert_same_run(moved, stopped)


def test_a_finished_run_that_goes_on_is_unfinished_until_its_end(
    stopped: Path, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    options = (*SMALL, "trainer.max_epochs=3", f"ckpt_path={run}/checkpoints/last.ckpt")
    dies = "{_target_: tests.distill.planted.Dies, rank: 0, step: 9, kill: false}"
    with pytest.raises(UserError, match="planted"):
        train(tiny_run(run, photos, *options, f"+callbacks.dies={dies}"))
    assert not {"metrics.json", "student.safetensors"} & {path.name for path in run.iterdir()}


def save_noise(folder: Path) -> None:
    """One image that is none of the run's."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")


def test_the_best_on_other_images_is_no_best_any_more(
    stopped: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the first ones the run had a score that nothing reaches any more."""
    run, other = tmp_path / "run", tmp_path / "other_HR"
    shutil.copytree(stopped, run)
    save_noise(other)
    last = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    for state in checkpoint["callbacks"].values():
        if state.get("monitor"):
            state["best_model_score"] = torch.tensor(0.999)
            state["best_k_models"] = {path: torch.tensor(0.999) for path in state["best_k_models"]}
            state["kth_value"] = torch.tensor(0.999)
    torch.save(checkpoint, last)
    options = (*SMALL, "trainer.max_epochs=3", f"ckpt_path={last}", f"data.val=[{other}]")
    train(tiny_run(run, photos, *options))
    assert "the best val/ssim counts from here" in capfd.readouterr().out
    _, metadata = load_artifact(run / "student.safetensors")
    assert metadata["steps"] == 12
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 12


def test_a_plateau_counts_anew_on_other_images(stopped: Path, photos: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other_HR"
    save_noise(other)
    plateau = (*SMALL, "scheduler=plateau", "scheduler.make.patience=0")
    train(tiny_run(run, photos, *plateau))
    last = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["lr_schedulers"][0]["best"] = 0.999  # which nothing reaches any more
    torch.save(checkpoint, last)
    options = (*plateau, "trainer.max_epochs=3", f"ckpt_path={last}", f"data.val=[{other}]")
    dies = "{_target_: tests.distill.planted.Dies, rank: 0, step: 11, kill: false}"
    with pytest.raises(UserError, match="planted"):  # with a checkpoint since, without a validation
        train(tiny_run(run, photos, *options, f"+callbacks.dies={dies}"))
    assert torch.load(last, weights_only=True)["global_step"] == 10
    train(tiny_run(run, photos, *options))
    (after,) = torch.load(last, weights_only=True)["lr_schedulers"]
    assert after["best"] < 0.999
    assert after["num_bad_epochs"] == 0


def test_dropout_of_a_resumed_run_is_that_of_an_undisturbed_one(
    tmp_path: Path, photos: Path, snapshots: list[Path]
) -> None:
    options = (*SMALL, "student._target_=tests.distill.planted.Dropping")
    whole = tmp_path / "whole"
    train(tiny_run(whole, photos, *options))
    for killed in snapshots[:3]:
        last = killed / "checkpoints" / "last.ckpt"
        train(tiny_run(killed, photos, *options, f"ckpt_path={last}"))
        assert_same_run(killed, whole)


def test_one_cycle_cannot_be_extended(tmp_path: Path, photos: Path) -> None:
    options = (*SMALL, "scheduler=onecycle", "trainer.max_epochs=1")
    train(tiny_run(tmp_path, photos, *options))
    last = tmp_path / "checkpoints" / "last.ckpt"
    longer = (*options, f"ckpt_path={last}", "trainer.max_epochs=2")
    with pytest.raises(UserError, match=r"OneCycle spans the whole run.*\(1 before, 2 now\)"):
        train(tiny_run(tmp_path, photos, *longer))


def test_fewer_epochs_than_done_are_refused(stopped: Path, photos: Path) -> None:
    last = stopped / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"trainer\.max_epochs=1: .* in epoch 2 already"):
        train(tiny_run(stopped, photos, *SMALL, f"ckpt_path={last}", "trainer.max_epochs=1"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("alone/last.ckpt", "not in a run folder"),
        ("run/checkpoints/last.ckpt", r"best\.ckpt, is not beside it"),
    ],
)
def test_a_checkpoint_outside_its_run_folder_is_refused(
    stopped: Path, photos: Path, tmp_path: Path, place: str, said: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    shutil.copy(stopped / "checkpoints" / "last.ckpt", path)
    with pytest.raises(UserError, match=said):
        train(tiny_run(path.parent.parent, photos, *SMALL, f"ckpt_path={path}"))
    assert content(tmp_path).keys() == {str(path)}


def test_another_run_folder_is_refused(stopped: Path, photos: Path, tmp_path: Path) -> None:
    last = stopped / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match="goes on in its own folder"):
        train(tiny_run(tmp_path / "other", photos, *SMALL, f"ckpt_path={last}"))
    assert not (tmp_path / "other").exists()


BAD_FILES = {
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a pickle": pickle.dumps({"state_dict": object}),
    "an empty file": b"",
    "a cut checkpoint": None,
    "weights": None,
    "another program's checkpoint": None,
    "a folder": None,
    "nothing": None,
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_checkpoint_is_one_line_without_advice_to_trust_it(
    kind: str, stopped: Path, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    if kind == "a cut checkpoint":
        whole = (stopped / "checkpoints" / "last.ckpt").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "weights":
        path = path.with_suffix(".safetensors")
        shutil.copy(stopped / "student.safetensors", path)
    elif kind == "another program's checkpoint":
        torch.save({"model": {"weight": torch.zeros(3)}}, path)
    elif kind == "a folder":
        path.mkdir()
    elif BAD_FILES[kind] is not None:
        path.write_bytes(BAD_FILES[kind])
    with pytest.raises(UserError) as error:
        train(tiny_run(tmp_path, photos, *SMALL, f"ckpt_path={path}"))
    said = str(error.value)
    assert said.startswith(f"ckpt_path={path}: ")
    assert "\n" not in said
    assert "weights_only" not in said
    assert "checkpoints/last.ckpt of a run" in said


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path, photos: Path) -> None:
    """train.py with one-cycle and averaged weights: see tests/distill/kills.py."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.distill.kills", str(tmp_path), str(photos), "20", "3"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.startswith("20 kills")
