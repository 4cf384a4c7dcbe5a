"""The command line that a sweep was started with, kept in its folder, and resumed from there."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kd_lightning.config import parted
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.imports import named, options

COMMAND = "command.json"  # in a sweep's folder
RESUME = "sweep.resume="
OWN = ("hydra.mode=", "hydra.sweep.dir=")  # of each start of the sweep, so not kept


def keep(config: DictConfig) -> None:
    """Write down in the sweep's folder what `config`, Hydra's of a multirun, was composed from."""
    hydra = config.hydra
    overrides = [*plain(hydra.overrides.hydra), *plain(hydra.overrides.task)]
    content = {
        "config_dir": config_dir(hydra),
        "imports": named(),
        "overrides": [word for word in overrides if not word.startswith(OWN)],
    }
    write_atomic(Path(hydra.sweep.dir) / COMMAND, json.dumps(content, indent=2).encode())


def config_dir(hydra: DictConfig) -> str:
    """The folder that `--config-dir` named; "" where there was none."""
    sources = (s.path for s in hydra.runtime.config_sources if s.provider == "command-line")
    return str(next(sources, "")).removeprefix("file://")


def plain(words: Any) -> list[str]:
    """Overrides of a configuration as they were written, interpolations and all."""
    content = OmegaConf.to_container(words, resolve=False)
    return [str(word) for word in content or ()]


def kept(folder: Path) -> dict[str, Any]:
    """What `keep` wrote. Raises UserError where `folder` is none of a sweep."""
    try:
        return dict(json.loads((folder / COMMAND).read_text()))
    except OSError:
        inside = (folder.parent / COMMAND).is_file()
        which = f"its sweep is {folder.parent}" if inside else f"it has no {COMMAND}"
        raise UserError(
            f"{RESUME}{folder}: not the folder of a sweep ({which}); name logs/<name>/sweep_<time>"
        ) from None


def resumed(words: list[str]) -> list[str]:
    """The command line `words`, where `sweep.resume=FOLDER` stands for that of the sweep in
    FOLDER. Other overrides beside it replace those of the same key.

    Raises:
        UserError: FOLDER is none of a sweep.
    """
    folders = [word.removeprefix(RESUME) for word in words if word.startswith(RESUME)]
    if not folders or folders[-1] in ("", "null"):
        return words
    folder = Path(folders[-1]).expanduser()
    command = kept(folder)
    first, given = parted([word for word in words if not word.startswith(RESUME)])
    if not {"-m", "--multirun"} & {*first}:
        first.append("-m")
    if command["config_dir"] and not any(
        word.startswith(("--config-dir", "-cd")) for word in first
    ):
        first.append(f"--config-dir={command['config_dir']}")
    first += options(command.get("imports", []))
    overrides = {word.partition("=")[0]: word for word in [*command["overrides"], *given]}
    return [*first, *overrides.values(), f'hydra.sweep.dir="{folder}"']
