"""What Lightning's checkpoints lack for a run that resumes from them."""

from typing import Any

from lightning import Callback, Trainer


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
        before, now = (
            {name for name, node in parameters["callbacks"].items() if node is not None}
            for parameters in (checkpoint["hyper_parameters"], pl_module.hparams)
        )
        # Whoever takes the callback out that has ended a run wants it to go on.
        self.stopped = checkpoint.get("should_stop", False) and before <= now

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        connector: Any = trainer._logger_connector
        values = {name: value.to(pl_module.device) for name, value in self.values.items()}
        connector._callback_metrics.update(values)
        trainer.should_stop = trainer.should_stop or self.stopped
