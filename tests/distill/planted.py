"""What tests plant in runs: deaths, dropout, and a teacher that tells which process loads it."""

import atexit
import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.students import StudentFast


class Dies(Callback):
    """Ends process `rank` after optimizer step `step`: by SIGKILL, or by an error."""

    def __init__(self, rank: int, step: int, kill: bool = True) -> None:
        self.rank, self.step, self.kill = rank, step, kill

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_rank == self.rank and trainer.global_step == self.step:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise UserError("planted: this process has a reason")


class Fails(Callback):
    """Raises before the first step."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        raise UserError("planted: no step")


class Logs(Callback):
    """Logs a score of its own, which is that of the epoch."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.log("val/mine", float(trainer.current_epoch))


class Stops(Callback):
    """Ends the run at the second epoch, by a score that it reads at this moment."""

    def __init__(self, moment: str) -> None:
        setattr(self, moment, self.stop)

    def stop(self, trainer: Trainer, *args: Any) -> None:
        seen = trainer.callback_metrics["images"] > 0
        trainer.should_stop = trainer.should_stop or bool(seen and trainer.current_epoch == 1)


class Bicubic(nn.Module):
    """Bicubic interpolation by 2, as a teacher."""

    def forward(self, lr: Tensor) -> Tensor:
        return upscale(lr, 2)


class Dropping(StudentFast):
    """A student with dropout."""

    def forward(self, bicubic: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(bicubic, 0.2, self.training))


class Idle(StudentFast):
    """A student with a parameter that nothing uses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle = nn.Parameter(torch.zeros(1))


def load(path: Path, scale: int) -> nn.Module:
    """Notes beside the weights which process has loaded them."""
    with path.with_name("loaded_by").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Bicubic()


class Threads(Callback):
    """Writes how many threads torch may use in this process to `<folder>/threads`."""

    def __init__(self, folder: str) -> None:
        Path(folder, "threads").write_text(str(torch.get_num_threads()))


class ThreadsAtExit(Callback):
    """Prints the names of the threads that this process still has when all else is done."""

    def __init__(self) -> None:
        atexit.register(self.show)

    def show(self) -> None:
        names = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
        print(f"threads at exit: {' '.join(names)}", flush=True)


class Preempted(Callback):
    """Has the cluster take the machine away after optimizer step `step`, once: submitit's signal,
    or SLURM's."""

    def __init__(self, folder: str, step: int) -> None:
        self.mark, self.step = Path(folder, "preempted"), step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.step and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGUSR2)
