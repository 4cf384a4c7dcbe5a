"""What the Hydra command lines share: where the configuration is, parts that it names, and errors
as one line with the nearest valid key for a wrong one."""

import difflib
import errno
import inspect
import os
import pydoc
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from kd_lightning.errors import SettingError, UserError
from kd_lightning.files import unwritable
from kd_lightning.imports import OPTION

FULL_ERROR = "KD_LIGHTNING_FULL_ERROR"  # HYDRA_FULL_ERROR as the user has it, for all processes
os.environ.setdefault(FULL_ERROR, os.environ.get("HYDRA_FULL_ERROR", "0"))
# Hydra then raises what goes wrong in a job, in place of printing it and leaving.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

PACKAGE = Path(__file__).parent
LIGHTNINGS = "MisconfigurationException"  # by name: importing Lightning takes seconds
DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT),
}
# In a wheel inside the package, in a clone beside it (setup.py).
CONFIG = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

MOVED = {  # old key: what to write in its place
    "weights": "teacher.weights=FILE, the teacher's, or init_from=pretrained, the student's start",
    "initial": "init_from",
    "loss.gradient_weight": "loss=hybrid_gradient with loss.extra_terms.gradient.weight",
}
NO_NAME = re.compile(
    r"(?i)null|true|false|[-+]?\d[\d._]*(e[-+]?\d+)?"
)  # what Hydra reads as no word
NO_OPTION = "Config group override must be"  # Hydra's words, a ValueError and no more
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


@contextmanager
def one_line_errors(config_name: str) -> Iterator[None]:
    """Print errors that a user can act on as one line and exit with status 2."""
    try:
        yield
    except Exception as error:
        line = reason(error, config_name, sys.argv[1:])
        if line is None:
            raise
        fail(line)


def reason(error: Exception, config_name: str, words: list[str]) -> str | None:
    """What to tell the user of `error` on the command line `words`; None for a bug."""
    if isinstance(error, InstantiationException):
        return refusal(error)
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, config_name, words)
    if isinstance(error, ValueError) and str(error).startswith(NO_OPTION):
        return without_option(config_name, words)
    if type(error).__name__ == LIGHTNINGS:
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK and error.filename:
        return str(unwritable(Path(error.filename), error))
    return None


def refusal(error: InstantiationException) -> str | None:
    """What to tell the user of a class or function of the configuration that raised; None for a bug
    of this project's own."""
    cause = error.__cause__
    if isinstance(cause, UserError):
        return str(cause)
    found = re.search(r"full_key: (\S+)$", str(error))
    # The degradation's own group, of which the data have a reference.
    key = re.sub(r"^data\.(?=degradation\b)", "", found[1]) if found else "configuration"
    if isinstance(cause, SettingError):
        return f"{key}.{cause}"
    if cause is None:
        return f"{key}: {str(error).splitlines()[0]}"
    plain = isinstance(cause, ValueError | TypeError | OSError | ImportError)
    if plain or type(cause).__name__ == LIGHTNINGS:
        return f"{key}: {cause}"
    target = re.search(r"'([\w.]+)'", str(error))
    if not target or target[1].startswith("kd_lightning.") or os.environ[FULL_ERROR] == "1":
        return None
    raised = f"{target[1]} raised {type(cause).__name__}: {cause}"
    return f"{key}: {raised}; correct it, HYDRA_FULL_ERROR=1 shows where"


def fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def explain(error: Exception, config_name: str, words: list[str]) -> str:
    """One line for an error of Hydra's on the command line `words`, with the nearest valid key or
    group option."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return quoting(error.override or "", text)
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found[1]
        if key in MOVED:
            return moved(key)
        if f"~{key.split('.')[0]}" in words:
            return f"{key} is given, and ~{key.split('.')[0]} takes it out: leave out one of them"
        inside = re.search(r"full_key: (\S+)", str(error.__cause__))
        return unknown(inside[1] if inside else key, config_name, words)
    if found := re.search(r"Error merging override \+*([^=]+)=", text):
        return other_form(found[1], chosen_config(config_name, words))
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        # Of an interpolation, the full key is that of who refers to the value.
        key = error.full_key if isinstance(error, MissingMandatoryValue) else found[1]
        return f"{key} has no value: give it on the command line, {key}=..."
    if found := re.search(r"Interpolation key '([^']+)' not found\s+full_key: (\S+)", text):
        return f"{found[2]} is taken from {found[1]}, which there is not: give {found[2]}=VALUE"
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = group_options(group, config_name, words)
        return f"no {group}={option}{nearest(option, options)}; there are {', '.join(options)}"
    return text


def unknown(key: str, config_name: str, words: list[str]) -> str:
    """What to say of a key that the configuration has not: how to add it, where it may be added,
    else the nearest one."""
    if key in sweeper_keys():
        return f"{key} is of sweep=optuna alone: give that too, and -m"
    cfg = chosen_config(config_name, words)
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(cfg, parent) if parent else cfg
    if parent in OPEN:
        near = nearest(name, map(str, node or ()), cutoff=0.75)
        return f"{key} is not there yet: +{key}=... adds it{near}"
    if isinstance(node, DictConfig) and name in parameters_of(node, parent):
        return f"{key} has no value yet: give it with a plus, +{key}=..."
    return f"unknown key {key}{nearest(key, dotted_keys(cfg))}"


def sweeper_keys() -> set[str]:
    """The keys of Optuna's sweeper that the one of every other run has not."""
    optuna, grid = (
        {f"hydra.sweeper.{key!s}" for key in OmegaConf.load(CONFIG / f"hydra/sweeper/{name}.yaml")}
        for name in ("optuna", "grid")
    )
    return optuna - grid


def parameters_of(node: DictConfig, name: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of what the node called `name` configures; none without a `_target_`."""
    if "_target_" not in node:
        return {}
    return inspect.signature(locate(node["_target_"], name)).parameters


def other_form(key: str, cfg: DictConfig) -> str:
    """What to say of a list that is given for values by name, or the other way round."""
    if isinstance(OmegaConf.select(cfg, key), ListConfig):
        return f"{key} is a list: give '{key}=[VALUE]'"
    return f"{key} holds values by name: give +{key}.NAME=VALUE"


def without_option(config_name: str, words: list[str]) -> str:
    """What to say of a group that is given no option that has a name, such as null."""
    with loader() as hydra:
        groups = hydra.list_groups("")
    for group, _, value in (word.partition("=") for word in words):
        nameless = any(NO_NAME.fullmatch(part) for part in value.split(","))
        if nameless and group in groups:
            there = ", ".join(group_options(group, config_name, words))
            return f"{group}={value} names no option: there are {there}"
    return "a group of the configuration is given what is no option's name"


def quoting(override: str, text: str) -> str:
    """What to say of an override that Hydra cannot read: most often a value wants quotes."""
    key, _, value = override.partition("=")
    if re.search(r"[=,:;$(){}\[\]\\'\" ]", value):
        return f"cannot read {override}: quote the value twice, '{key}=\"{value}\"'"
    return f"cannot read {override}: {text.splitlines()[0]}"


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


def search_path(words: list[str]) -> list[str]:
    """The override that adds what `--config-dir` adds, for composing once more."""
    for option, value in zip(words, [*words[1:], ""], strict=True):
        name, _, given = option.partition("=")
        if name in ("--config-dir", "-cd"):
            return [f"hydra.searchpath=[file://{Path(given or value).resolve()}]"]
    return [word for word in words if word.startswith("hydra.searchpath=")]


@contextmanager
def loader() -> Iterator[ConfigLoader]:
    """Hydra's loader of the configuration that ships."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def group_options(group: str, config_name: str, words: list[str]) -> list[str]:
    """The options of a group, those of `--config-dir` among them."""
    with loader() as hydra:
        found = hydra.get_group_options(
            group, config_name=config_name, overrides=search_path(words)
        )
    return sorted(option for option in found if option != "base")


def chosen_config(config_name: str, words: list[str]) -> DictConfig:
    """The configuration with the command line's choices of groups."""
    with loader() as hydra:
        groups = hydra.list_groups("")
        pairs = [(word, *word.partition("=")[::2]) for word in words]
        chosen = [w for w, group, name in pairs if group in groups and not set(",{") & set(name)]
        return compose(config_name, overrides=[*search_path(words), *chosen])


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


def _check_arguments(node: DictConfig, name: str) -> None:
    parameters = inspect.signature(locate(node["_target_"], name)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = {*parameters, *OWN_KEYS.get(name.rpartition(".")[0], ())}
    for key in map(str, node):
        if not key.startswith("_") and key not in known:
            valid = nearest(f"{name}.{key}", [f"{name}.{parameter}" for parameter in known])
            raise UserError(f"unknown key {name}.{key} of {node['_target_']}{valid}")
