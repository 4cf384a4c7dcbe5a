"""Checkpoints are whole, wherever the temporary files of other programs lie and however a write
ends."""

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from kd_lightning.distill.checkpoints import AtomicCheckpointIO, RunCheckpoint, best_of, relocated
from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from tests.runs import tiny_run

SHM = Path("/dev/shm")


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_that_names_the_checkpoints_that_are_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io, last = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(UserError) as error:
            io.save_checkpoint({"step": 1}, last)
    assert str(error.value).startswith(f"{last}: cannot write (No space left on device)")
    assert "intact" not in str(error.value)  # there is none
    assert not list(tmp_path.iterdir())

    io.save_checkpoint({"step": 1}, last)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match=rf"intact: {last}$"):
        io.save_checkpoint({"step": 2}, last)
    assert torch.load(last, weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_run_says_so_where_its_disk_is_full(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(self: object, checkpoint: dict, path: str, **kwargs: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full_disk)
            original(self, checkpoint, path, **kwargs)

    original = AtomicCheckpointIO.save_checkpoint
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    with pytest.raises(UserError, match="cannot write"):
        train(tiny_run(tmp_path, photos))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_state_of_a_moved_callback_names_files_of_its_folder() -> None:
    state = {
        "dirpath": "/old/checkpoints",
        "best_model_path": "/old/checkpoints/best.ckpt",
        "kth_best_model_path": "",
        "last_model_path": "/old/checkpoints/last.ckpt",
        "best_k_models": {"/old/checkpoints/best.ckpt": torch.tensor(0.5)},
        "best_model_score": torch.tensor(0.5),
    }
    moved = relocated(state, "/new")
    assert moved["dirpath"] == "/new"
    assert moved["best_model_path"] == "/new/best.ckpt"
    assert moved["kth_best_model_path"] == ""
    assert moved["last_model_path"] == "/new/last.ckpt"
    assert moved["best_k_models"] == {"/new/best.ckpt": torch.tensor(0.5)}
    assert moved["best_model_score"] == 0.5


@pytest.mark.parametrize("k", [-1, 0, 2, 3])
@pytest.mark.parametrize("filename", ["best", "{epoch}", "{val/ssim:.2f}"])
def test_files_of_one_name_are_not_kept_side_by_side(k: int, filename: str) -> None:
    with pytest.raises(ValueError, match=f"save_top_k={k} .*" + ("" if k == 0 else r"\{step\}")):
        RunCheckpoint("folder", filename, monitor="val/ssim", save_top_k=k)


@pytest.mark.parametrize("filename", [None, "{step}", "best_{step:06d}"])
def test_files_of_different_names_are_kept(filename: str | None) -> None:
    for k in (-1, 1, 2):
        RunCheckpoint("folder", filename, monitor="val/ssim", save_top_k=k)


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_run_that_keeps_fewer_files_than_before_goes_on_from_the_best(k: int, mode: str) -> None:
    better = max if mode == "max" else min
    for seed in range(20):
        rng = random.Random(seed)
        scores = {f"{n}.ckpt": torch.tensor(rng.random()) for n in range(rng.randint(0, 8))}
        state = best_of(scores, k, mode)
        kept = state["best_k_models"]
        assert len(kept) == min(k, len(scores))
        if kept:
            assert better(kept.values()) == better(scores.values())
        worse = max if mode == "min" else min
        assert ("kth_value" in state) == (len(kept) == k)
        assert state.get("kth_value", worse(kept.values(), default=None)) == worse(
            kept.values(), default=None
        )


@pytest.mark.slow
def test_fifteen_kills_while_checkpoints_are_written_damage_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forks of this process write without end, and are killed at random moments."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    rng = random.Random(5)
    if SHM.is_dir():  # another file system than the run folder's
        monkeypatch.setenv("TMPDIR", str(SHM))
    io, content = AtomicCheckpointIO(), {"step": 1, "weights": torch.zeros(4_000_000)}
    torch.set_num_threads(1)
    cut = 0
    for _ in range(15):
        child = os.fork()
        if child == 0:
            while True:
                io.save_checkpoint(content, folder / "last.ckpt")
        while not ((folder / "last.ckpt").exists() and list(folder.glob(".tmp-*"))):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut += bool(list(folder.glob(".tmp-*")))
        state = torch.load(folder / "last.ckpt", weights_only=True)
        assert state["step"] == 1
        assert len(state["weights"]) == 4_000_000
        for leftover in folder.glob(".tmp-*"):
            leftover.unlink()
        assert {path.name for path in folder.iterdir()} == {"last.ckpt"}
    assert cut > 0  # kills came while a file was being written
