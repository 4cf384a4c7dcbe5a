"""Learning-rate schedules: one that torch lacks, and what a run asks of them and of optimizers."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import LBFGS, Optimizer, SparseAdam
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from kd_lightning.errors import UserError

# Of torch's, those that fail at the first step.
UNFIT: dict[type[Optimizer], str] = {
    LBFGS: "evaluates the loss several times a step and wants weights that are contiguous in "
    "memory, and here it is evaluated once, with weights in channels_last",
    SparseAdam: "wants sparse gradients, and those of a student are dense",
}


class OneCycle(OneCycleLR):
    """torch's OneCycleLR, for runs of any length.

    Where the warm-up would be exactly one step, torch's has no length and it divides by zero; such
    a run starts at the top, as a shorter one does. A run of one step takes the top.

    Args:
        optimizer: whose learning rate is set.
        max_lr: the top.
        total_steps: of the whole run, at least 1.
        pct_start: share of the run spent warming up, in [0, 1].
        kwargs: the others of OneCycleLR.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int,
        pct_start: float = 0.3,
        **kwargs: Any,
    ) -> None:
        if total_steps == 1:
            kwargs["final_div_factor"] = 1 / kwargs.get("div_factor", 25.0)
        if abs(pct_start * total_steps - 1) < 1e-6:
            pct_start *= 1 - 1e-4
        super().__init__(optimizer, max_lr, total_steps=total_steps, pct_start=pct_start, **kwargs)


def spans_the_run(make_scheduler: Callable[..., LRScheduler]) -> bool:
    """Whether a schedule is made for the length of the run, like OneCycle."""
    return "total_steps" in inspect.signature(make_scheduler).parameters


def check_optimizer(optimizer: Optimizer) -> None:
    """Raises UserError for one that cannot train a student."""
    name, reason = type(optimizer).__name__, UNFIT.get(type(optimizer))
    if reason:
        raise UserError(f"optimizer: {name} {reason}; give optimizer=adamw or another")


@contextmanager
def refusals(group: str) -> Iterator[None]:
    """What torch says against a value, as the configuration's fault."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(f"{group}: {error}; change this key of {group}") from None
