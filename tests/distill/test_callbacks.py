"""Callbacks of a run."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import LightningModule, Trainer

from kd_lightning.distill.callbacks import ComparisonImages, WarmedEMA


class Counter(LightningModule):
    """Its one weight is the number of steps taken."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(-1000.0))
        self.register_buffer("table", torch.arange(3))  # integers cannot be averaged
        self.automatic_optimization = False

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        self.weight.grad = torch.zeros(())
        with torch.no_grad():
            self.weight.fill_(batch_idx + 1)
        optimizer.step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_average_forgets_the_initial_weights_and_then_follows_the_decay(
    tmp_path: Path, decay: float
) -> None:
    steps = 60
    module = Counter()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[WarmedEMA(decay)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(steps), num_workers=0))
    expected = 1.0  # the first update copies
    for n in range(1, steps):
        keep = min(decay, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * (n + 1)
    assert module.weight.item() == pytest.approx(expected, rel=1e-4)
    assert expected > 40  # -1000 is gone


@given(last=st.integers(1, 60), validated=st.integers(1, 8), every=st.integers(1, 20))
def test_whatever_the_validations_images_come_first_last_and_as_often_as_said(
    last: int, validated: int, every: int
) -> None:
    callback = ComparisonImages("", every_n_epochs=every)
    drawn, seen = [], [e for e in range(last) if (e + 1) % validated == 0 or e + 1 == last]
    for epoch in seen:
        step = 1 if epoch + 1 == last else validated  # as the module sets it for the last epoch
        trainer: Any = SimpleNamespace(
            current_epoch=epoch, max_epochs=last, check_val_every_n_epoch=step
        )
        if callback.is_due(trainer):
            drawn.append(epoch)
    assert {seen[0], seen[-1]} <= {*drawn}
    for before, after in pairwise(drawn):
        assert after - before < every + validated  # of the validations, the first that is due
    assert len(drawn) <= last / every + 2
