"""What a resumed run needs beside what Lightning's checkpoints give back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from kd_lightning.distill.results import RESULTS, in_any_folder


class FormerResults(Callback):
    """Removes the results of a run that goes on, when it does: they are not its own any more."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / name for name in RESULTS]

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.is_global_zero:
            for file in self.files:
                file.unlink(missing_ok=True)
        self.files = []


class RestoredTrainer(Callback):
    """Gives a resumed run the logged values that callbacks read, and the end that a callback has
    given to it.

    Lightning repeats the end of an epoch whose validation a checkpoint has behind it: an
    EarlyStopping would find no score then, and one that stops within the validation would train on.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.stopped = False

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["logged_values"] = {k: v.cpu() for k, v in trainer.callback_metrics.items()}
        checkpoint["should_stop"] = trainer.should_stop

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        self.values = checkpoint.get("logged_values", {})
        before, now = (stopping(p) for p in (checkpoint["hyper_parameters"], pl_module.hparams))
        # Whoever takes the callback out that has ended a run, or changes it, wants it to go on.
        self.stopped = checkpoint.get("should_stop", False) and before.items() <= now.items()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        connector: Any = trainer._logger_connector
        values = {name: value.to(pl_module.device) for name, value in self.values.items()}
        connector._callback_metrics.update(values)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        # Not earlier: a training that is skipped has no end, at which averages become weights.
        trainer.should_stop = trainer.should_stop or self.stopped


def stopping(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings of those callbacks of a configuration that may end a run, wherever its folder
    lies; those of this project never do."""
    return {
        name: in_any_folder(node, config["run_folder"])
        for name, node in config["callbacks"].items()
        if node is not None and not str(node["_target_"]).startswith("kd_lightning.")
    }
