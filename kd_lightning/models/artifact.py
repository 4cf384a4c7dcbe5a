"""The artifact: a network's weights and what is needed to rebuild it, in one safetensors file.

Inference reads nothing else: no Lightning, no Hydra, no pickle. The header holds strings only;
every value is JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import kd_lightning
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.models import students, swinir
from kd_lightning.models.network import Network

FORMAT = "kd_lightning/1"


def save_artifact(
    path: str | Path,
    network: Network,
    arguments: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write `network` to `path`, whole or not at all.

    Args:
        path: a file name that ends in .safetensors; its folder is made.
        network: of a class in kd_lightning.models.students or .swinir; written folded.
        arguments: keyword arguments that construct it.
        metadata: anything JSON can hold: metrics, configuration hash, licence, ...

    Raises:
        UserError: the class is not one that can be loaded again, or `arguments` build a network
            with other tensors.
    """
    path = Path(path)
    network = network.fuse()
    arguments = {key: value for key, value in arguments.items() if key != "rep"}  # folded
    architecture = type(network).__name__
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    twin = _build(path, architecture, arguments)
    _load(path, twin, tensors)
    header = {
        **(metadata or {}),
        "format": FORMAT,
        "version": kd_lightning.__version__,
        "architecture": architecture,
        "arguments": arguments,
        "scale": twin.scale,
        "takes_lr": twin.takes_lr,
    }
    content = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        {key: json.dumps(value) for key, value in header.items()},
    )
    write_atomic(path, content)
    return path


def load_artifact(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """The network (float32, CPU, eval, frozen) and the metadata that `save_artifact` wrote.

    Raises:
        UserError: the file is missing, damaged, not an artifact, of an unknown architecture, or
            its tensors do not fit the architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the .safetensors of a finished run")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    try:
        metadata = {key: json.loads(value) for key, value in header.items()}
    except ValueError:
        metadata = {}
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path}: not an artifact of kd_lightning ({FORMAT}); write one with "
            "kd-export or take the student.safetensors of a run folder"
        )
    network = _build(path, str(metadata.get("architecture")), metadata.get("arguments") or {})
    _load(path, network, tensors)
    return network.eval().requires_grad_(False), metadata


def _build(path: Path, architecture: str, arguments: Mapping[str, Any]) -> Network:
    for module in (students, swinir):
        candidate = getattr(module, architecture, None)
        if isinstance(candidate, type) and issubclass(candidate, Network):
            break
    else:
        raise UserError(
            f"{path}: unknown architecture {architecture!r}; "
            "kd_lightning.models.students and .swinir have no such network"
        )
    try:
        return candidate(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: arguments do not fit {architecture}: {error}") from None


def _load(path: Path, network: Network, tensors: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: tensors do not fit {type(network).__name__}: {reason}") from None
