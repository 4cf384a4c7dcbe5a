"""A run that was killed and resumed ends as the undisturbed one, and nothing else is resumed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.distill.checkpoints import AtomicCheckpointIO
from kd_lightning.distill.run import train
from kd_lightning.models.artifact import load_artifact
from tests.runs import CONF, tiny_run

SCHEDULERS = sorted(file.stem for file in (CONF / "scheduler").glob("*.yaml"))
SMALL = (
    *("student=student_fast", "student.width=4", "student.depth=3", "data.crop_size=24"),
    *("trainer.max_epochs=2", "callbacks.last.every_n_train_steps=2", "callbacks.pictures=null"),
)


@pytest.fixture
def snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Copies of the run folder as it was right after each checkpoint: what a kill leaves."""
    taken: list[Path] = []
    save = AtomicCheckpointIO.save_checkpoint

    def saved(self: AtomicCheckpointIO, checkpoint: dict, path: str, **kwargs: Any) -> None:
        save(self, checkpoint, path, **kwargs)
        run = Path(path).parent.parent
        if run.name == "whole" and Path(path).name == "last.ckpt":
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


def assert_same_run(ours: Path, theirs: Path) -> None:
    for name in ("metrics.json", "metrics.csv"):
        assert (ours / name).read_text() == (theirs / name).read_text(), f"{ours.name}: {name}"
    (student, meta), (undisturbed, expected) = (
        load_artifact(run / "student.safetensors") for run in (ours, theirs)
    )
    assert meta["config_sha256"] == expected["config_sha256"]
    assert_same(student.state_dict(), undisturbed.state_dict(), ours.name)
    for name in ("last.ckpt", "best.ckpt"):
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
