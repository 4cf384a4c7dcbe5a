"""What the Hydra command lines share: where the configuration is, the parts that it names, and
checks of its keys."""

import difflib
import inspect
import os
import pydoc
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kd_lightning.errors import UserError
from kd_lightning.imports import OPTION

PACKAGE = Path(__file__).parent
# In a wheel inside the package, in a clone beside it (setup.py).
CONFIG = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

MOVED = {  # old key: what to write in its place
    "weights": "teacher.weights=FILE, the teacher's, or init_from=pretrained, the student's start",
    "initial": "init_from",
    "loss.gradient_weight": "loss=hybrid_gradient with loss.extra_terms.gradient.weight",
}
VALUED = {
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c"),
    OPTION,
}
PARTS = (  # groups that every run has an option of
    *("data", "degradation", "teacher", "student", "loss", "features", "metrics", "optimizer"),
    *("scheduler", "precision", "trainer", "callbacks", "logger"),
)
OWN_KEYS = {  # of a part's node, beside the arguments of its `_target_`
    "loss.extra_terms": {"weight"},
    "metrics.extra": {"label", "digits"},
}
OPEN = ("data.test", "callbacks", "logger", *OWN_KEYS)  # nodes of names that a user chooses


def run_dir(name: str, ckpt_path: str | None, time: str) -> str:
    """The run folder: `logs/<name>/<time>`, or the folder of the run that `ckpt_path` continues
    (`<folder>/checkpoints/<file>`)."""
    if ckpt_path is None:
        return f"logs/{name}/{agreed(time)}"
    return str(Path(ckpt_path).expanduser().absolute().parent.parent)


def agreed(time: str) -> str:
    """A name that all processes of the run have: the first one's `time` where torchrun has started
    several, which would else write into a folder each; under srun the job's and the step's number,
    which stay when SLURM starts the job again."""
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ['SLURM_STEP_ID']}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return time
    from torch.distributed import TCPStore

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False)
    key = f"kd_lightning/time/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if os.environ["RANK"] == "0":
        store.set(key, time)
    return str(store.get(key).decode())


OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)


def part(node: DictConfig, group: str) -> Any:
    """What a node of `group` (a key of OWN_KEYS) names, ready to be called: an object of a class,
    or a function that has the node's other keys as arguments already."""
    arguments = {key: node[key] for key in node if key not in OWN_KEYS[group]}
    is_class = isinstance(locate(node["_target_"], group), type)
    return instantiate(arguments) if is_class else instantiate(arguments, _partial_=True)


def locate(target: str, key: str) -> Any:
    """The object that the configuration names `target`. Raises UserError where there is none."""
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise UserError(f"{key}: {target} cannot be imported: {error.value}") from error
    if found is None:
        raise UserError(
            f"{key}: there is no {target}; correct its name, install its package, or name the "
            "package's folder in PYTHONPATH"
        )
    return found


def moved(key: str) -> str:
    """What to say of a key that has another name now."""
    return f"{key} is now {MOVED[key]}"


def options_first(words: list[str]) -> list[str]:
    """The command line with Hydra's options before the overrides: elsewhere it refuses what comes
    after them."""
    options, overrides = parted(words)
    return options + overrides


def parted(words: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's options of a command line, with their values, and the overrides."""
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            options += [word, next(rest, "")] if word in VALUED else [word]
        else:
            overrides.append(word)
    return options, overrides


def keys(node: DictConfig) -> list[Any]:
    """Its keys as they are: words, but in a dictionary of a user's own also numbers."""
    return list(node)


def dotted_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in keys(cfg):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            value = cfg[key]
            if isinstance(value, DictConfig):
                yield from dotted_keys(value, f"{prefix}{key}.")


def nearest(word: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """`; did you mean X?` or nothing."""
    close = difflib.get_close_matches(word, list(valid), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def check_parts(cfg: DictConfig) -> None:
    """Raises UserError where a group that every run needs was taken out (`~logger`)."""
    for part in PARTS:
        if part not in cfg:
            raise UserError(
                f"~{part} takes out what every run needs: give {part}=OPTION, of those that --help "
                "names"
            )


def check_keys(cfg: DictConfig) -> None:
    """Refuse keys that have another name now, that the `_target_` they configure has no parameter
    for, and targets that do not exist.

    Raises:
        UserError: names the key and the nearest parameter, or the new name.
    """
    for key in MOVED:
        if OmegaConf.select(cfg, key) is not None:
            raise UserError(moved(key))
    for node, name in targets(cfg):
        _check_arguments(node, name)


def targets(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[DictConfig, str]]:
    """Every node with a `_target_`, and its dotted key."""
    for key in keys(cfg):
        if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key):
            continue
        node: Any = cfg[key]
        if isinstance(node, DictConfig):
            if "_target_" in node:
                yield node, f"{prefix}{key}"
            yield from targets(node, f"{prefix}{key}.")


def parameters(node: DictConfig, name: str) -> Mapping[str, inspect.Parameter]:
    """Those of the `_target_` of the node called `name`."""
    return inspect.signature(locate(node["_target_"], name)).parameters


def _check_arguments(node: DictConfig, name: str) -> None:
    taken = parameters(node, name)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    known = {*taken, *OWN_KEYS.get(name.rpartition(".")[0], ())}
    for key in map(str, node):
        if not key.startswith("_") and key not in known:
            valid = nearest(f"{name}.{key}", [f"{name}.{parameter}" for parameter in known])
            raise UserError(f"unknown key {name}.{key} of {node['_target_']}{valid}")
