"""Checkpoints hold only what is read again."""

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback

from kd_lightning.distill.checkpoints import AtomicCheckpointIO
from kd_lightning.distill.plain import plain
from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from tests.runs import tiny_run


class Keeps(Callback):
    """A callback whose state is a path."""

    def state_dict(self) -> dict[str, Any]:
        return {"folder": Path("there")}


class Waved(torch.optim.lr_scheduler.LambdaLR):
    """torch's own schedule, by numpy's numbers."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer, lambda epoch: np.cos(epoch / 100))


def test_numpys_numbers_are_read_again_as_pythons(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    state = Waved(optimizer).state_dict()
    assert any(isinstance(rate, np.float64) for rate in state["_last_lr"])
    path = tmp_path / "last.ckpt"
    states = {"lr_schedulers": [state], "optimizer_states": [optimizer.state_dict()]}
    AtomicCheckpointIO().save_checkpoint({**states, np.int64(3): (np.bool_(True),)}, path)
    read = torch.load(path, weights_only=True)
    assert read["lr_schedulers"][0]["_last_lr"] == state["_last_lr"]
    assert type(read["optimizer_states"][0]["param_groups"][0]["lr"]) is float
    assert read[3] == (True,)


def test_what_is_plain_already_stays_the_same_object() -> None:
    value = {"a": [1, 2.0, torch.ones(2)], 3: OrderedDict(b=(None, torch.Size([1]), {4}))}
    assert plain(value) is value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"callbacks": {"Hist": {"folder": Path("a")}}}, "callbacks: Hist: folder: a PosixPath, "),
        ({"loops": [1, np.ones(2)]}, "loops: 1: a ndarray, "),
        ({"a": np.longdouble(1)}, "a: a longdouble, "),
        ({"a": {Path("a"): 1}}, "a: a: a PosixPath, "),
        ({"a": lambda: 1}, "a: a function, "),
    ],
)
def test_what_could_not_be_read_again_is_refused_by_its_place(
    value: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        plain(value)
    assert str(error.value).startswith(said)
    with pytest.raises(UserError, match="let its state_dict give numbers"):
        AtomicCheckpointIO().save_checkpoint(value, io.BytesIO())  # type: ignore[arg-type]


def test_a_callback_that_checkpoints_cannot_hold_is_refused_before_the_first_step(
    tmp_path: Path, photos: Path
) -> None:
    cfg = tiny_run(tmp_path, photos, f"+callbacks.mine._target_={__name__}.Keeps")
    with pytest.raises(UserError, match=r"^callbacks: Keeps: folder: a PosixPath"):
        train(cfg)
    assert not (tmp_path / "metrics.csv").exists()
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_run_with_a_schedule_of_numpys_numbers_ends_and_goes_on(
    tmp_path: Path, photos: Path
) -> None:
    options = (
        *("student=student_fast", "student.width=4", "student.depth=3", "data.crop_size=24"),
        *("callbacks.pictures=null", "scheduler=step", "scheduler.interval=step"),
    )
    cfg = tiny_run(tmp_path, photos, *options)
    cfg.scheduler.make = {"_target_": f"{__name__}.Waved", "_partial_": True}
    cfg.trainer.max_epochs = 1
    assert train(cfg) is not None
    cfg = cfg.copy()
    cfg.trainer.max_epochs, cfg.ckpt_path = 2, str(tmp_path / "checkpoints" / "last.ckpt")
    assert train(cfg) is not None
