"""What callbacks and schedules follow: the scores that a validation has."""

import hashlib
import json
from typing import Any

from lightning import Trainer

from kd_lightning.config import nearest
from kd_lightning.distill.metrics import log_name
from kd_lightning.errors import UserError

PACKAGES = ("kd_lightning", "lightning")  # whose callbacks log no score of a validation


def scores_of(trainer: Trainer, module: Any) -> list[str]:
    """The names of what each validation logs: of the student's scores, and of those against the
    teacher's output where there is one."""
    has_teacher = getattr(getattr(trainer, "datamodule", None), "val_has_teacher", True)
    rows = ("val", "val/to_teacher") if has_teacher else ("val",)
    return [f"{row}/{log_name(name)}" for row in rows for name in module.metrics]


def check_monitors(trainer: Trainer, module: Any) -> None:
    """Raises UserError where a callback follows a score that no validation will have. A callback of
    the user's own may log any other."""
    if logs_others(trainer):
        return
    scores = scores_of(trainer, module)
    for callback in _callbacks(trainer):
        monitor = getattr(callback, "monitor", None) or ""
        if monitor not in scores and (monitor.startswith("val/") or f"val/{monitor}" in scores):
            near = nearest(monitor, scores)
            raise UserError(
                f"callbacks: {type(callback).__name__} has monitor={monitor}, which is in no "
                f"validation{near}"
            )


def logs_others(trainer: Trainer) -> bool:
    """Whether a callback of the user's own is there, which may log scores of any name."""
    packages = {type(callback).__module__.partition(".")[0] for callback in _callbacks(trainer)}
    return not packages.issubset(PACKAGES)


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]


def scored_on(trainer: Trainer, module: Any) -> str:
    """The same for the same validation images and metrics."""
    images = getattr(getattr(trainer, "datamodule", None), "val_images", "")
    metrics = json.dumps(module.hparams.get("metrics"), default=str, sort_keys=True)
    return hashlib.sha256(f"{images}{metrics}".encode()).hexdigest()
