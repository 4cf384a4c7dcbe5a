"""Values of the configuration, checked against the types of the parameters that take them."""

import inspect
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from kd_lightning.config import locate, targets
from kd_lightning.errors import UserError

OWN = {"seed": int, "scale": int, "eval_tile": int, "name": str}  # keys that nothing takes directly
AT_LEAST = {
    "scale": 1,
    "seed": 0,
    "eval_tile": 1,
    "data.seed": 0,
    "data.subset": 1,
    "data.train_downscale": 1,
    "trainer.max_epochs": 1,
    "trainer.max_steps": -1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.gradient_clip_val": 0,
    "trainer.num_nodes": 1,
    "trainer.num_sanity_val_steps": -1,
    "trainer.log_every_n_steps": 1,
    "trainer.check_val_every_n_epoch": 1,
    "callbacks.pictures.every_n_epochs": 1,
}
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # fp32 weights, all of them
INSTEAD = {  # of Lightning's trainer: how this project does it
    "overfit_batches": "debug=overfit trains on one image; data.subset=N on the first ones",
    "reload_dataloaders_every_n_epochs": "each epoch draws crops of its own already",
}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def check_values(cfg: DictConfig) -> None:
    """Refuse a value that its parameter cannot take: `foo` for a number, 0 epochs.

    Raises:
        UserError: names the key, as the command line has it, and what it takes.
    """
    for key, kind in OWN.items():
        check_value(key, cfg[key], kind)
    for node, name in targets(cfg):
        hints = parameter_types(locate(node["_target_"], name))
        for key in map(str, node):
            if key in hints and not OmegaConf.is_missing(node, key):
                check_value(source(node, key, f"{name}.{key}"), value(node, key), hints[key])
    for key, least in AT_LEAST.items():
        number = OmegaConf.select(cfg, key)
        if number is not None and number < least:
            raise UserError(f"{key}={number}: give at least {least}")
    if "trainer" in cfg:
        if not OmegaConf.select(cfg, "data.split") and OmegaConf.select(cfg, "data.val") == []:
            raise UserError(
                "data.val=[]: a run validates; give data.val=[FOLDER], or data.split=0.1"
            )
        check_trainer(cfg.trainer, cfg.precision.lightning)


def check_trainer(trainer: DictConfig, precision: str) -> None:
    """Raises UserError for what Lightning's trainer can and a run of that precision cannot."""
    for key, instead in INSTEAD.items():
        if trainer.get(key):
            raise UserError(f"trainer.{key}={trainer[key]} is not possible here: {instead}")
    for name, given in (
        ("precision.lightning", precision),
        ("trainer.precision", trainer.precision),
    ):
        if given not in PRECISIONS:
            raise UserError(f"{name}={given}: give precision=fp32, bf16 or fp16")
    if trainer.precision != precision:
        raise UserError(f"trainer.precision={trainer.precision}: give precision= alone")


def source(node: DictConfig, key: str, name: str) -> str:
    """The key that a user sets for `name`: what it is an interpolation of, if of one key alone."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    found = re.fullmatch(r"\$\{([\w.]+)\}", str(raw[key]))
    return found[1] if found else name


def value(node: DictConfig, key: str) -> Any:
    """The value, interpolated; None where that is not possible yet."""
    try:
        return node[key]
    except OmegaConfBaseException:
        return None


def parameter_types(target: Any) -> dict[str, Any]:
    """The annotated types of the parameters of a function or class."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers alone
        return {}


def check_value(key: str, content: Any, kind: Any) -> None:
    """Raises UserError where `content` is none of the type `kind`."""
    if not fits(content, kind):
        raise UserError(f"{key}={content}: give {described(kind)}")


def fits(content: Any, kind: Any) -> bool:
    """Whether `content` can be of the type `kind`; what is not plain data always can."""
    if content is None or (isinstance(content, DictConfig) and "_target_" in content):
        return True
    if get_origin(kind) in (Union, types.UnionType):
        return any(fits(content, option) for option in get_args(kind))
    if get_origin(kind) is Literal:
        return content in get_args(kind)
    if kind in WORDS:
        if kind is float:
            return isinstance(content, int | float) and not isinstance(content, bool)
        return isinstance(content, kind) and (kind is bool or not isinstance(content, bool))
    container = get_origin(kind) or kind
    if container in (list, tuple, Sequence):
        return isinstance(content, ListConfig | list)
    if container in (dict, Mapping):
        return isinstance(content, DictConfig | dict)
    return kind not in (Tensor, type(None))


def described(kind: Any) -> str:
    """What `kind` is, for people."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    words: list[str] = []
    for option in options:
        if get_origin(option) is Literal:
            words += map(str, get_args(option))
        elif option in WORDS:
            words.append(WORDS[option])
        elif (get_origin(option) or option) in (list, tuple, Sequence):
            words.append("a list")
        elif option is type(None):
            words.append("null")
    return " or ".join(words) or f"a {getattr(kind, '__name__', kind)}"
