"""Continuing a run: which checkpoint, in which folder, with what changed, decided before anything
is written."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kd_lightning.errors import UserError

# What a resumed run may change. Everything else has shaped its state, so it stays.
FREE = (
    *("run_folder", "ckpt_path", "name", "eval_tile", "metrics*"),
    *("logger*", "callbacks*"),
    *("trainer.max_epochs", "trainer.accelerator", "trainer.default_root_dir"),
    *("trainer.check_val_every_n_epoch", "trainer.num_sanity_val_steps"),
    *("trainer.log_every_n_steps", "trainer.enable_*"),
    *("data.root", "data.train", "data.val", "data.test*", "data.source*", "data.cache_dir"),
    *("data.num_workers", "data.prepare_workers", "data.device_cache"),
    *("teacher.weights", "teacher.url"),
)
BOUND = ("callbacks.ema*",)  # of FREE, what stays all the same
PATHS = ("run_folder", "ckpt_path", "callbacks*", "logger*", "trainer.default_root_dir")
NAMED = 5  # differing keys that a message names


class Resume(NamedTuple):
    """A checkpoint that a run continues.

    Attributes:
        path: its file.
        step: optimizer steps it has behind it.
        changes: what is different from now on, in words.
    """

    path: Path
    step: int
    changes: str


def accept(path: str | Path, config: Mapping[str, Any], fixed_length: bool) -> Resume:
    """The checkpoint at `path`, if the run of `config` can honestly continue it. Writes nothing.

    Args:
        path: `<run folder>/checkpoints/<file>`.
        config: the resolved configuration of the run that is to go on.
        fixed_length: the learning-rate schedule spans the whole run, like OneCycle's, so that the
            run's length is part of it.

    Raises:
        UserError: no checkpoint, no run folder or another one, or a key that cannot change.
    """
    path = Path(path).expanduser().absolute()
    checkpoint = read_checkpoint(path)
    check_folder(path, checkpoint, Path(config["run_folder"]))
    before, now = dict(flat(checkpoint["hyper_parameters"])), dict(flat(config))
    changed = differing(before, now)
    refused = [key for key in changed if not free(key)]
    weights = f"init_from={path}"
    if refused:
        raise UserError(
            f"ckpt_path={path}: its run cannot go on with another "
            f"{listed(refused, before, now)}; leave the key as it was, or start a new run from "
            f"these weights: {weights}"
        )
    if fixed_length and "trainer.max_epochs" in changed:
        raise UserError(
            f"ckpt_path={path}: the schedule {config['scheduler']['make']['_target_']} spans the "
            f"whole run, so it cannot go on with another "
            f"{listed(['trainer.max_epochs'], before, now)}; leave it as it was, or start a new "
            f"run from these weights: {weights}"
        )
    epochs = config["trainer"]["max_epochs"]
    if epochs is not None and checkpoint["epoch"] >= max(epochs, 0):
        raise UserError(
            f"trainer.max_epochs={epochs}: the run of ckpt_path={path} is in epoch "
            f"{checkpoint['epoch'] + 1} already; give at least that"
        )
    said = [key for key in changed if not any(fnmatch(key, pattern) for pattern in PATHS)]
    changes = f" with another {listed(said, before, now)}" if said else ""
    return Resume(path, int(checkpoint["global_step"]), changes)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of this project, read without running any code in it.

    Raises:
        UserError: no such file, or another kind of file.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"ckpt_path={path}: {what}; name the checkpoints/last.ckpt of a run")
    wrong = f"ckpt_path={path}: {{}}; name the checkpoints/last.ckpt of a run"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"ckpt_path={path}: cannot read ({error.strerror})") from None
    except Exception:  # torch's reader raises nearly anything for a file of another kind
        raise UserError(wrong.format(kind_of(path))) from None
    needed = {"state_dict", "hyper_parameters", "global_step", "epoch", "callbacks", "loops"}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise UserError(wrong.format("not a training checkpoint of this project"))
    return content


def kind_of(path: Path) -> str:
    """What a file that torch cannot read may be."""
    if path.stat().st_size == 0:
        return "an empty file"
    if path.suffix == ".safetensors":
        return "weights without the state of their training (init_from= starts from them)"
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return "a damaged checkpoint" if is_zip else "not a checkpoint"


def check_folder(path: Path, checkpoint: Mapping[str, Any], run_folder: Path) -> None:
    """Raises UserError where `path` is not in `run_folder`, or that is no run folder."""
    folder = path.parent.parent
    whole = "continue it in a copy of the whole run folder, or start a new run from its weights"
    if path.parent.name != "checkpoints" and not (folder / ".hydra" / "config.yaml").is_file():
        raise UserError(
            f"ckpt_path={path}: not in a run folder (<folder>/checkpoints/{path.name}); {whole}: "
            f"init_from={path}"
        )
    if folder.resolve() != run_folder.expanduser().resolve():
        raise UserError(
            f"ckpt_path={path}: a run goes on in its own folder {folder}, not in {run_folder}; "
            f"leave hydra.run.dir and -m away, or start a new run from its weights: "
            f"init_from={path}"
        )
    for state in checkpoint["callbacks"].values():
        best = Path(state.get("best_model_path") or path)
        if state.get("monitor") and not (path.parent / best.name).is_file():
            raise UserError(
                f"ckpt_path={path}: the best checkpoint of its run, {best.name}, is not beside it; "
                f"{whole}: init_from={path}"
            )


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys of different value, sorted; one that is missing counts as null. Of a group whose
    `_target_` differs only that is named."""
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    groups = [key.removesuffix("_target_") for key in keys if key.endswith("._target_")]
    inside = [g for g in groups if f"{g}_target_" in before and f"{g}_target_" in now]
    return [k for k in keys if k.endswith("._target_") or not k.startswith(tuple(inside))]


def free(key: str) -> bool:
    """Whether a resumed run may change `key`."""
    bound = any(fnmatch(key, pattern) for pattern in BOUND)
    return not bound and any(fnmatch(key, pattern) for pattern in FREE)


def listed(keys: list[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`a (1 before, 2 now), b (...)`; no more than a line holds."""
    words = [f"{k} ({value(before.get(k))} before, {value(now.get(k))} now)" for k in keys[:NAMED]]
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(words) + more


def value(content: Any) -> str:
    return "nothing" if content is None else str(content)
