"""What a checkpoint may hold: values that are read again without running any code in the file."""

import io
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor, nn

from kd_lightning.errors import UserError

SIMPLE = (bool, int, float, complex, str, bytes, type(None), Tensor, nn.Parameter)


def plain(value: Any, where: str = "") -> Any:
    """`value` with Python's numbers in place of numpy's; what has none of them stays the same
    object.

    Raises:
        UserError: names the place inside `value`, after `where`, of what cannot be read again.
    """
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind in (dict, OrderedDict):
        found = {plain(k, f"{where}{k}: "): plain(v, f"{where}{k}: ") for k, v in value.items()}
        return value if _same(found.items(), value.items()) else kind(found)
    if kind in (list, tuple):
        items = [plain(item, f"{where}{number}: ") for number, item in enumerate(value)]
        return value if _same([items], [value]) else kind(items)
    if not _is_read_again(value):
        raise UserError(
            f"{where}a {kind.__name__}, which a checkpoint cannot hold; let its state_dict give "
            "numbers, strings, tensors, lists and dicts"
        )
    return value


def check_states(trainer: Trainer) -> None:
    """Raises UserError where the checkpoints of a run that begins could not be read again."""
    plain({"callbacks": {each.state_key: each.state_dict() for each in trainer.callbacks}})  # type: ignore[attr-defined]
    plain({"optimizer": [each.state_dict() for each in trainer.optimizers]})
    schedulers: list[Any] = [each.scheduler for each in trainer.lr_scheduler_configs]
    plain({"scheduler": [each.state_dict() for each in schedulers]})


def _same(new: Any, old: Any) -> bool:
    """Whether the items of the items are the very objects."""
    return all(
        a is b
        for ours, theirs in zip(new, old, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def _is_read_again(value: Any) -> bool:
    """Whether torch reads by itself what it writes of `value`."""
    content = io.BytesIO()
    try:
        torch.save(value, content)
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception:  # its state may be anybody's
        return False
    return True
