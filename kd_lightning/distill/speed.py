"""What a run costs while it trains: images a second, waiting for data, memory."""

import time
from typing import Any

import torch
from lightning import Callback, Trainer

from kd_lightning.distill.loggers import RunCSVLogger
from kd_lightning.memory import peak_memory


class SpeedMonitor(Callback):
    """Logs, whenever losses are logged, means over the steps since the last time:
    `speed/images` (training crops a second, all processes), `speed/data_wait` (share of the time
    between two validations in which the process waits for a batch, 0 to 1), `memory/process_mb`
    (largest resident size so far, not on Windows) and, on a GPU, `memory/gpu_mb` (the most that
    torch has allocated).

    They depend on the clock, so in the run folder they are apart from what a resumed run repeats
    exactly: in `speed.csv`.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.file: RunCSVLogger | None = None
        self.waited = self.stepped = 0.0  # seconds since the last row
        self.ended: float | None = None  # when the last step did; None: no step came before
        self.began = 0.0
        self.images = 0
        self.step = 0  # optimizer steps, at the end of the batch before

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.file = RunCSVLogger(self.folder, trainer.global_step or None, "speed.csv")
        self.step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self.began = time.perf_counter()
        if self.ended is not None:
            self.waited += self.began - self.ended

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.ended = time.perf_counter()
        self.stepped += self.ended - self.began
        self.images += pl_module.batch_size * trainer.world_size
        steps: Any = trainer.log_every_n_steps  # type: ignore[attr-defined]
        step, self.step = self.step, trainer.global_step
        if self.file is None or trainer.global_step in (step, 0) or trainer.global_step % steps:
            return  # an optimizer step may take several batches
        seconds = self.waited + self.stepped
        row = {"speed/images": self.images / seconds, "speed/data_wait": self.waited / seconds}
        if largest := peak_memory():
            row["memory/process_mb"] = largest / 1e6
        if pl_module.device.type == "cuda":
            row["memory/gpu_mb"] = torch.cuda.max_memory_allocated(pl_module.device) / 1e6
        for logger in (self.file, *(x for x in trainer.loggers if not isinstance(x, RunCSVLogger))):
            logger.log_metrics({**row, "images": pl_module.images_seen()}, trainer.global_step - 1)
        self.waited, self.stepped, self.images = 0.0, 0.0, 0

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.ended = None  # a validation is no waiting

    def on_save_checkpoint(self, trainer: Trainer, *args: Any) -> None:
        if self.file is not None:
            self.file.save()  # as the losses' logger does

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.file is not None:
            self.file.save()
