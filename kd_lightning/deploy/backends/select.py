"""Which backend runs a network or a file."""

from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from kd_lightning.deploy.backends import MODULES
from kd_lightning.deploy.backends.backend import Backend, Precision, Runner
from kd_lightning.deploy.parity import checked, refusal
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.network import Network

ARTIFACT = ".safetensors"


def backends() -> list[Backend]:
    """All of them, in the order of MODULES."""
    return [import_module(module).BACKEND for module in MODULES.values()]


def open_weights(
    weights: str | Path,
    backend: str = "auto",
    device: str = "auto",
    precision: Precision = "auto",
) -> Runner:
    """Load an artifact (.safetensors) or an export (.onnx, OpenVINO .xml) into a backend.

    "auto" takes CUDA through torch where there is a GPU, else the first installed backend, in the
    order of MODULES, that runs the network, suits it and computes in `precision`; bf16 where the
    CPU multiplies it, fp16 on CUDA, else fp32. Before its first answer the runner of an artifact
    is compared with the network in torch, on a small image.

    Raises:
        UserError: a file, backend, device or precision that cannot be had.
    """
    weights = Path(weights)
    place = _device(device)
    suffixes = [ARTIFACT, *(suffix for item in backends() for suffix in item.exports)]
    if weights.suffix not in suffixes:
        raise UserError(f"{weights}: weights must be {', '.join(suffixes)} (see kd-export)")
    if weights.suffix == ARTIFACT:
        network, metadata = load_artifact(weights)
        able = _able(network, place)
        preferred = [item for item in able if item.suits(network, precision)]
        chosen = _choose(weights.name, backend, place, precision, able, preferred)
        number_format = _precision(chosen, precision, place)
        runner = from_network(network, chosen.name, place, number_format)
        return replace(runner, metadata=metadata)
    able = [item for item in backends() if weights.suffix in item.exports]
    able = [item for item in able if item.precisions(place)]
    chosen = _choose(weights.name, backend, place, precision, able, able)
    number_format = _precision(chosen, precision, place)
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; write it with kd-export")
    return chosen.open_file(weights, number_format)


def from_network(network: Network, backend: str, device: torch.device, precision: str) -> Runner:
    """A runner for a network in memory, compared as that of an artifact is; no argument may be
    "auto".

    Raises:
        UserError: the backend does not run this network.
    """
    chosen = {item.name: item for item in backends()}[backend]
    if not chosen.supports(network):
        raise UserError(f"backend={backend} cannot run {type(network).__name__}; use torch")
    try:
        runner = chosen.open(network, device, precision)
    except UserError:
        raise
    except Exception as error:  # the network may be anybody's
        raise refusal(network, f"{backend} {precision}", error) from error
    return checked(runner, network, precision)


def automatic(network: Network, device: torch.device) -> tuple[str, str]:
    """The backend and precision that "auto" takes for a network."""
    able = [item for item in _able(network, device) if item.suits(network, "auto")]
    chosen = next(item for item in able if item.installed())
    return chosen.name, chosen.precisions(device)[0]


def _able(network: Network, device: torch.device) -> list[Backend]:
    return [item for item in backends() if item.precisions(device) and item.supports(network)]


def _choose(
    name: str,
    backend: str,
    device: torch.device,
    precision: str,
    able: list[Backend],
    preferred: list[Backend],
) -> Backend:
    """`able`: those that run the file `name`; `preferred`: of them, those that "auto" may take."""
    if backend == "auto":
        fitting = [
            item for item in preferred if precision in ("auto", *item.precisions(device))
        ] or preferred
        found = next((item for item in fitting if item.installed()), None)
        if found is None and not fitting:
            raise UserError(f"{name}: nothing runs it on {device.type}; use device=cpu")
        return found or _installed(fitting[0])
    known = {item.name: item for item in backends()}
    if backend not in known:
        raise UserError(f"backend={backend}: choose auto, {', '.join(known)}")
    if known[backend] not in able:
        others = _names(able)
        raise UserError(
            f"backend={backend} cannot run {name} on {device.type}"
            + (f"; {others} can" if others else "")
        )
    return _installed(known[backend])


def _installed(backend: Backend) -> Backend:
    if not backend.installed():
        raise UserError(
            f"backend={backend.name} is not installed: pip install 'kd_lightning[{backend.extra}]'"
        )
    return backend


def _precision(backend: Backend, precision: str, device: torch.device) -> str:
    able = backend.precisions(device)
    if precision == "auto":
        return able[0]
    if precision not in able:
        raise UserError(
            f"precision={precision}: {backend.name} on {device.type} does {', '.join(able)}"
        )
    return precision


def _names(items: Iterable[Backend]) -> str:
    return ", ".join(item.name for item in items)


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise UserError(f"device={device}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: torch sees no CUDA device here; use device=cpu")
    return torch.device(device)
