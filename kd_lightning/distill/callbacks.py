"""Callbacks of a run: a line for each validation, comparison pictures, averaged weights."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, WeightAveraging
from torch import Tensor

from kd_lightning.distill.metrics import log_name
from kd_lightning.distill.module import DistillationModule
from kd_lightning.distill.publish import log_image
from kd_lightning.imageio import comparison as pictures

LONGEST = 100  # characters of an image's name


class ValidationLines(Callback):
    """Prints a line after each validation: progress that a log file keeps too."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        minutes = (time.perf_counter() - self.started) / 60
        values = trainer.callback_metrics
        scores = []
        for name, metric in pl_module.metrics.items():
            key = f"val/{log_name(name)}"
            scores.append(f"{key} {metric.text(float(values[key]))}")
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            f"step {trainer.global_step}",
            *scores,
            f"{minutes:.1f} min",
            sep="  ",
            flush=True,
        )


class LearningRates(LearningRateMonitor):
    """Logs the learning rate once for each step of the optimizer, also where a step has several
    batches (`trainer.accumulate_grad_batches`)."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            super().on_train_batch_start(trainer)


class WarmedEMA(WeightAveraging):
    """Exponential moving average of the weights that soon forgets the first ones: after n updates
    the decay is `min(decay, (1 + n) / (10 + n))`. With a constant decay of 0.999 the random
    initial weights would still make up 5 % of the average after 3,000 steps.

    Args:
        decay: share of the average that an update keeps, at the end.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
            n = float(updates)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(use_buffers=False, multi_avg_fn=average)  # buffers: masks and index tables


class ComparisonImages(Callback):
    """Writes lr | bicubic | student | teacher | hr with a zoomed detail to `folder` and to
    the loggers that take images.

    One of each of the first validation images, the same ones after each validation, and one of
    the first image of each test set.

    Args:
        folder: where the PNG files go.
        every_n_epochs: epochs from one image to the next of the same, at least; the first and the
            last validation have one too.
        images: how many validation images are shown; 0: none.
    """

    def __init__(self, folder: str, every_n_epochs: int = 1, images: int = 1) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.images = images

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        due = self.is_due(trainer) and not trainer.sanity_checking
        if batch_idx < self.images and due and batch["stem"] != [""]:
            name = batch["stem"][0][:LONGEST]
            file = f"val_{name}_epoch_{trainer.current_epoch:04d}.png"
            self.write(trainer, pl_module, batch, file, f"val/comparison/{name}")

    def is_due(self, trainer: Trainer) -> bool:
        """Whether this validation is the first or the last one, or has passed a multiple of
        `every_n_epochs` since the one before. The epoch alone decides, also after a resume."""
        ended = trainer.current_epoch + 1
        before = ended - (trainer.check_val_every_n_epoch or 1)
        passed = ended // self.every_n_epochs > before // self.every_n_epochs
        return passed or before <= 0 or ended == trainer.max_epochs

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            name = pl_module.test_names()[dataloader_idx]
            self.write(trainer, pl_module, batch, f"test_{name}.png", f"test/comparison/{name}")

    @torch.no_grad()
    def write(
        self, trainer: Trainer, module: DistillationModule, batch: Any, file: str, key: str
    ) -> None:
        if not trainer.is_global_zero:
            return
        columns = pictures.triplet_columns(batch, module.restore(batch))
        picture = pictures.comparison(columns, batch["hr"][0], batch["bicubic"][0])
        pictures.save(picture, self.folder / file)
        # That of the scores' row, which a run that resumes after it keeps.
        log_image(trainer.loggers, key, picture, max(trainer.global_step - 1, 0))
