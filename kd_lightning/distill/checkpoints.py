"""Checkpoints: written whole or not at all, at moments from which a run resumes exactly."""

import io
import re
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kd_lightning.distill.monitored import scored_on
from kd_lightning.distill.plain import check_states, plain
from kd_lightning.distill.publish import log_summary
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file beside its target, durably, then renames it.

    Lightning's own writer puts the temporary file into TMPDIR and syncs nothing: on another file
    system the last move is a copy, which a kill cuts short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write `checkpoint`. Raises UserError for a full or read-only disk, and for what could
        not be read again."""
        content = io.BytesIO()
        torch.save(plain(checkpoint), content)
        try:
            write_atomic(Path(path), content.getbuffer())
        except UserError as error:
            raise UserError(f"{error}{earlier(Path(path).parent)}") from None


def earlier(folder: str | Path | None) -> str:
    """What to tell of the checkpoints in `folder`; nothing where there are none."""
    there = sorted(Path(folder).glob("*.ckpt")) if folder else []
    if not there:
        return ""
    return f"; intact: {' and '.join(str(path) for path in there)}"


class RunCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback for a run folder that may move, and whose killed runs end as
    undisturbed ones.

    Nothing is saved between a step and the validation that follows it: Lightning would resume
    without that validation. A callback without a monitor saves after it, whatever the step.
    What was best on other images, or by other metrics, is no best any more. Of files that others
    have surpassed a resumed run may still ask for one, so they go when the callback without a
    monitor has saved, or where there is none, when the next epoch begins.

    Raises:
        ValueError: `save_top_k` is 0, or keeps several files of one name.
    """

    scored_on = ""  # names the images and the metrics

    @wraps(ModelCheckpoint.__init__)  # type: ignore[misc]  # by whose signature keys are checked
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.surpassed: list[str] = []
        if self.save_top_k == 0:
            raise ValueError("save_top_k=0 saves nothing: give null in place of the callback")
        varies = self.filename is None or re.search(r"\{step\b", self.filename)
        if self.monitor and self.save_top_k != 1 and not varies:
            raise ValueError(
                f"save_top_k={self.save_top_k} keeps several files, and filename={self.filename} "
                "may name one like another: put {step} into it, 'filename=\"best_{step}\"'"
            )

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.scored_on = scored_on(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        own = {"scored_on": self.scored_on, "surpassed": list(self.surpassed)}
        return {**super().state_dict(), **own}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        check_states(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.remove_surpassed(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        super().on_train_end(trainer, pl_module)
        self.remove_surpassed(trainer)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if self.monitor is None:  # a run that resumes from this one asks for no surpassed file
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, RunCheckpoint):
                    callback.remove_surpassed(trainer)

    def remove_surpassed(self, trainer: Trainer) -> None:
        for path in set(self.surpassed) - self.best_k_models.keys():
            trainer.strategy.remove_checkpoint(path)
        self.surpassed = []

    def _remove_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        self.surpassed.append(filepath)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not validation_follows(trainer):
            super().on_train_batch_end(trainer, *args)
        elif self.monitor is None:
            self._defer_save_until_validation = True

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        before = self.best_model_score
        super().on_validation_end(trainer, pl_module)
        score = self.best_model_score
        if self.monitor and score is not None and score is not before and trainer.is_global_zero:
            step = trainer.global_step - 1  # that of the score's row in the logs
            log_summary(trainer.loggers, {f"best/{self.monitor}": float(score), "best/step": step})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = relocated(state_dict, str(self.dirpath))
        if state.get("scored_on", self.scored_on) != self.scored_on:
            state |= {"best_model_score": None, "best_model_path": "", "best_k_models": {}}
            state |= {"kth_best_model_path": "", "kth_value": self.kth_value}
            if self.monitor:
                rank_zero_only(print)(f"other validation: the best {self.monitor} counts from here")
        self.surpassed = state["surpassed"]
        if self.monitor and self.save_top_k > 0:
            scores = state["best_k_models"]
            state |= best_of(scores, self.save_top_k, self.mode)
            self.surpassed += scores.keys() - state["best_k_models"].keys()
        super().load_state_dict(state)


def best_of(scores: dict[str, Tensor], k: int, mode: str) -> dict[str, Any]:
    """What the state of a `ModelCheckpoint` that keeps `k` files says of these: a run may have kept
    more before."""
    ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=mode == "max")[:k]
    kept = {"best_k_models": {path: scores[path] for path in ranked}}
    if len(ranked) < k:
        return kept
    return {**kept, "kth_best_model_path": ranked[-1], "kth_value": scores[ranked[-1]]}


def validation_follows(trainer: Trainer) -> bool:
    """Whether a validation comes before the next step."""
    loop: Any = trainer.fit_loop.epoch_loop
    return bool(loop._should_check_val_fx(trainer.fit_loop._data_fetcher))


def relocated(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """The state of a `ModelCheckpoint` with its files in `folder`."""

    def moved(path: str) -> str:
        return str(Path(folder) / Path(path).name) if path else path

    paths = ("best_model_path", "kth_best_model_path", "last_model_path")
    best = {moved(path): score for path, score in state["best_k_models"].items()}
    return {
        **state,
        **{name: moved(state[name]) for name in paths},
        "best_k_models": best,
        "surpassed": [moved(path) for path in state.get("surpassed", [])],
        "dirpath": folder,
    }
