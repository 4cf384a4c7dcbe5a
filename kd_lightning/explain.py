"""Errors of the Hydra command lines as one line that a user can act on, with the nearest valid key
or option for a wrong one."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from kd_lightning.config import CONFIG, MOVED, OPEN, dotted_keys, moved, nearest, parameters
from kd_lightning.errors import SettingError, UserError
from kd_lightning.files import unwritable

FULL_ERROR = "KD_LIGHTNING_FULL_ERROR"  # HYDRA_FULL_ERROR as the user has it, for all processes
os.environ.setdefault(FULL_ERROR, os.environ.get("HYDRA_FULL_ERROR", "0"))
# Hydra then raises what goes wrong in a job, in place of printing it and leaving.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

LIGHTNINGS = "MisconfigurationException"  # by name: importing Lightning takes seconds
DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT),
}
NO_NAME = re.compile(
    r"(?i)null|true|false|[-+]?\d[\d._]*(e[-+]?\d+)?"
)  # what Hydra reads as no word
NO_OPTION = "Config group override must be"  # Hydra's words, a ValueError and no more


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
    node: Any = OmegaConf.select(cfg, parent, throw_on_resolution_failure=False) if parent else cfg
    if parent in OPEN:
        near = nearest(name, map(str, node or ()), cutoff=0.75)
        return f"{key} is not there yet: +{key}=... adds it{near}"
    if isinstance(node, DictConfig) and "_target_" in node and name in parameters(node, parent):
        return f"{key} has no value yet: give it with a plus, +{key}=..."
    return f"unknown key {key}{nearest(key, dotted_keys(cfg))}"


def sweeper_keys() -> set[str]:
    """The keys of Optuna's sweeper that the one of every other run has not."""
    optuna, grid = (
        {f"hydra.sweeper.{key!s}" for key in OmegaConf.load(CONFIG / f"hydra/sweeper/{name}.yaml")}
        for name in ("optuna", "grid")
    )
    return optuna - grid


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
