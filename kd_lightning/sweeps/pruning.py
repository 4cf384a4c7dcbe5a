"""Giving a trial of a study up at a validation, when those before it were better there."""

from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from kd_lightning.distill.marks import Pruned


class PruneTrials(Callback):
    """Writes each validation's score into the study, and ends the run where `pruner` says so.

    Args:
        folder: the run folder, of a trial `<sweep's folder>/<number>`; any other run goes on
            to its end, such as the best trial's configuration on its own.
        monitor: what is validated.
        pruner: an `optuna.pruners` object.

    Raises:
        Pruned: the trial is given up.
    """

    def __init__(self, folder: str, monitor: str, pruner: Any) -> None:
        self.run, self.monitor, self.pruner = Path(folder), monitor, pruner
        study = self.run.parent / "study.journal"
        self.is_trial = self.run.name.isdecimal() and study.is_file()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not self.is_trial:
            return
        value = float(trainer.callback_metrics[self.monitor])
        epoch = trainer.current_epoch + 1
        prune = trainer.is_global_zero and self.judge(epoch, value)
        if trainer.strategy.broadcast(prune):
            raise Pruned(f"{self.monitor} {value:.4f} after epoch {epoch}")

    def judge(self, epoch: int, value: float) -> bool:
        """Whether the trial, with this score after `epoch`, is to be given up."""
        from kd_lightning.sweeps.journal import Study

        study = Study(self.run.parent).optuna
        storage = study._storage
        number = int(self.run.name)
        trial = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        if storage.get_trial(trial).state.is_finished():  # it was told already
            return False
        storage.set_trial_intermediate_value(trial, epoch, value)
        return bool(self.pruner.prune(study, storage.get_trial(trial)))
