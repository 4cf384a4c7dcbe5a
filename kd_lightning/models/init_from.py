"""Fine-tuning: a student that starts from weights, not from chance."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.checkpoint import read_state
from kd_lightning.models.network import fuse, load_fused
from kd_lightning.models.pretrained import shipped


def load_init_from(student: nn.Module, source: str) -> Path:
    """Load into `student` the weights that `source` names; returns their file.

    Args:
        source: "pretrained", for the shipped weights that fit `student`, or a file: an artifact, a
            checkpoint of ours or of BasicSR, or any other state dict.

    Raises:
        UserError: no shipped weights fit, or those of the file do not, or a layer of `student`
            cannot take over fused ones.
    """
    path = shipped_for(student) if source == "pretrained" else Path(source).expanduser()
    state = read_state(path)
    plain = fuse(student)
    # Ranges of 8-bit activations are buffers that a network in floats has none of.
    ranges = {name for name, _ in plain.named_buffers()} - state.keys()
    fits_fused = state.keys() == plain.state_dict().keys() - ranges
    try:
        if fits_fused:
            plain.load_state_dict(state, strict=False)
        else:
            student.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path}: these weights do not fit {type(student).__name__}: {reason}"
        ) from None
    if fits_fused:
        try:
            load_fused(student, plain)
        except UserError as error:
            raise UserError(f"init_from={path}: {error}") from None
    return path


def other_arguments(path: Path, student: nn.Module, arguments: Mapping[str, Any]) -> str:
    """What the network of an artifact had and `student`, made of `arguments`, has not, though its
    weights fit; empty where that is nothing, or where the file does not say."""
    try:
        network, metadata = load_artifact(path)
    except UserError:
        return ""
    if type(network) is not type(student):
        return ""
    had, defaults = metadata["arguments"], inspect.signature(type(student)).parameters
    names = [name for name in defaults if name in {*had, *arguments} and name != "rep"]
    values = [
        (name, *(given.get(name, defaults[name].default) for given in (had, arguments)))
        for name in names
    ]
    other = [f"{name}={before}, here {now}" for name, before, now in values if before != now]
    return f", whose network had {'; '.join(other)}" if other else ""


def shipped_for(student: nn.Module) -> Path:
    """The shipped artifact of the same architecture and arguments. Raises UserError for none."""
    others = []
    for name, path in (shipped() | shipped("call_*.safetensors")).items():  # clean ones first
        network, metadata = load_artifact(path)
        if outline(network) == outline(fuse(student)):
            return path
        others.append(f"{name} is {type(network).__name__} with {metadata['arguments']}")
    raise UserError(
        f"init_from=pretrained: nothing that ships has the arguments of this "
        f"{type(student).__name__}; {', '.join(others)}"
    )


def outline(network: nn.Module) -> tuple[type, str, dict[str, Any]]:
    """What tells networks apart but for their weights: the class, the layers and the plain
    attributes."""
    plain = {key: value for key, value in vars(network).items() if isinstance(value, int | str)}
    return type(network), repr(network), plain | {"training": None}
