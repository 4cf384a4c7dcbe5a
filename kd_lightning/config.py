"""What the Hydra command lines share: errors as one line, the nearest valid key for a wrong one."""

import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.errors import UserError

# Hydra then raises what goes wrong in a job, in place of printing it and leaving.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")


def run_dir(name: str, ckpt_path: str | None, time: str) -> str:
    """The run folder: `logs/<name>/<time>`, or the folder of the run that `ckpt_path` continues
    (`<folder>/checkpoints/<file>`)."""
    if ckpt_path is None:
        return f"logs/{name}/{time}"
    return str(Path(ckpt_path).parent.parent)


OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)


@contextmanager
def one_line_errors(config_dir: Path, config_name: str) -> Iterator[None]:
    """Print errors that a user can act on as one line and exit with status 2."""
    try:
        yield
    except UserError as error:
        fail(str(error))
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, UserError | ValueError):
            raise
        fail(str(cause))
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error, config_dir, config_name))


def fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def explain(error: Exception, config_dir: Path, config_name: str) -> str:
    """One line for an error of Hydra's, with the nearest valid key or group option."""
    text = str(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found[1]
        return f"unknown key {key}{nearest(key, valid_keys(config_dir, config_name))}"
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found[1]} has no value: give it on the command line, {found[1]}=..."
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = [file.stem for file in (config_dir / group).glob("*.yaml")]
        listed = ", ".join(sorted(options))
        return f"no {group}={option}{nearest(option, options)}; there are {listed}"
    return text


def valid_keys(config_dir: Path, config_name: str) -> list[str]:
    """Dotted keys of the configuration with the command line's choices of groups."""
    groups = {folder.name for folder in config_dir.iterdir() if folder.is_dir()}
    chosen = [word for word in sys.argv[1:] if word.split("=")[0] in groups and "," not in word]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
        cfg = compose(config_name, overrides=chosen)
    return list(dotted_keys(cfg))


def dotted_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, cfg):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            value = cfg[key]
            if isinstance(value, DictConfig):
                yield from dotted_keys(value, f"{prefix}{key}.")


def nearest(word: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` or nothing."""
    close = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def check_keys(cfg: DictConfig, prefix: str = "") -> None:
    """Refuse keys that the `_target_` they configure has no parameter for.

    Raises:
        UserError: names the key and the nearest parameter.
    """
    for key in map(str, cfg):
        if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key):
            continue
        value: Any = cfg[key]
        if not isinstance(value, DictConfig):
            continue
        if "_target_" in value:
            check_arguments(value, f"{prefix}{key}")
        check_keys(value, f"{prefix}{key}.")


def check_arguments(node: DictConfig, name: str) -> None:
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in map(str, node):
        if not key.startswith("_") and key not in parameters:
            valid = nearest(f"{name}.{key}", [f"{name}.{parameter}" for parameter in parameters])
            raise UserError(f"unknown key {name}.{key} of {node['_target_']}{valid}")
