"""The artifact: a network's weights and what is needed to rebuild it, in one safetensors file.

Inference reads nothing else: no Lightning, no Hydra, no pickle. The header holds strings only;
every value is JSON. Its keys: format and version of the writer, `architecture` (module.Class),
`arguments` (which construct it), `scale` and `takes_lr`, the digest of the tensors, and what the
writer of the run added: `metrics`, `degradation` (the key of what the network was trained to undo),
...
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

import kd_lightning
from kd_lightning.errors import UserError
from kd_lightning.files import as_json, write_atomic
from kd_lightning.models.lookup import find_class, qualified_name
from kd_lightning.models.network import ModelInfo, Network, fuse, fuse_and_round, model_info
from kd_lightning.models.plausible import require_plausible

FORMAT = "kd_lightning/1"
DIGEST = "tensors_sha256"
SIDE = 16  # pixels, at least, of the image on which a network and its twin are compared
SAME = 1e-4  # largest difference between the two, in units of [0, 1]


def save_artifact(
    path: str | Path,
    network: nn.Module,
    arguments: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write `network` to `path`, whole or not at all.

    Args:
        path: a file name that ends in .safetensors; its folder is made.
        network: a `Network`, or a module that states what one does; written fused.
        arguments: keyword arguments that construct it.
        metadata: anything JSON can hold: metrics, configuration hash, licence, ...

    Raises:
        UserError: what is written would not be the network when it is read: see `check_saveable`.
    """
    path = Path(path)
    network = fuse(network).cpu()
    info = _compare_twin(str(path), network, arguments)
    header = {
        **(metadata or {}),
        "format": FORMAT,
        "version": kd_lightning.__version__,
        "architecture": qualified_name(network),
        "arguments": dict(arguments),
        "scale": info.scale,
        "takes_lr": info.takes_lr,
    }
    strings = {key: as_json(value) for key, value in header.items()}
    write_atomic(path, _serialised(str(path), network, strings))
    return path


def check_saveable(network: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Build the network that a reader of the artifact would build from `arguments`, give it the
    weights as they are written, and compare the two on a small image: what would not come back is
    known before a long training, not after it.

    Raises:
        UserError: `network` does not state what a `Network` does, its state cannot be written, its
            class cannot be found by its name, or is built from other arguments, or computes
            something else, or nothing finite when its weights are rounded as a run rounds them.
    """
    _compare_twin("student", fuse(network).cpu(), arguments)
    rounded = fuse_and_round(network).cpu().eval()
    try:
        require_finite("student", rounded)
    except Exception as error:  # the class may be anybody's
        raise UserError(
            f"student: {qualified_name(rounded)} fails, or gives NaN or infinite values, once its "
            "parameters are rounded to bfloat16, as a run writes them: hold in buffers what must "
            "be exact"
        ) from error


def check_any_size(network: nn.Module) -> None:
    """Try an image of odd, unequal sides, as those that users restore and validate on may be.

    Raises:
        UserError: `network` fails on it, or gives another size than it states.
    """
    side = _side(model_info(network))
    odd = side + 1 + side % 2
    _output("student", fuse(network).cpu().eval(), odd, odd + 2)


def load_artifact(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """The network (float32, CPU, eval, frozen) and the metadata that `save_artifact` wrote.

    Raises:
        UserError: the file is missing, damaged, not an artifact, of a class that is not known
            here (see `find_class`), or its tensors do not fit the class.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the .safetensors of a finished run")
    header, tensors = read_safetensors(path)
    try:
        metadata = {key: json.loads(value) for key, value in header.items()}
    except (ValueError, RecursionError):
        metadata = {}
    stated = str(metadata.get("format"))
    if stated != FORMAT and re.fullmatch(r"kd_lightning/\d+", stated):
        raise UserError(
            f"{path}: an artifact of {stated}, and this version reads {FORMAT}: install a newer "
            "kd_lightning"
        )
    if stated != FORMAT:
        raise UserError(
            f"{path}: not an artifact of kd_lightning ({FORMAT}); write one with "
            "kd-export or take the student.safetensors of a run folder"
        )
    architecture = str(metadata.get("architecture"))
    arguments = metadata.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise UserError(f"{path}: its arguments are {arguments!r:.60}, not names and values")
    network = build(str(path), architecture, arguments, tensors)
    network = network.eval().requires_grad_(False)
    require_finite(str(path), network)
    return network, metadata


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and the tensors of a file, an artifact or not.

    Raises:
        UserError: it is no such file, or its tensors are not those whose digest it states, as
            artifacts do: an interrupted download may leave zeros, of which images can be made.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    if DIGEST in header and header[DIGEST] != as_json(tensors_digest(tensors)):
        raise UserError(
            f"{path}: damaged, its weights are not those that were written: download or copy it "
            "again"
        )
    return header, tensors


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bytes, whatever the order in the file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def build(
    source: str,
    architecture: str,
    arguments: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    plain: bool = True,
) -> Network:
    """The network of a class that `find_class` finds, with these tensors.

    Args:
        source: is named in errors.
        plain: the tensors are those of the network's `fuse`, which is returned.

    Raises:
        UserError: the class is not known, or does not take the arguments or the tensors.
    """
    network_class = find_class(architecture, source)
    require_plausible(source, network_class, arguments, tensors)
    try:
        network = network_class(**arguments)
        network = fuse(network) if plain else network
    except Exception as error:  # the class may be anybody's
        reason = " ".join(str(error).split())
        raise UserError(
            f"{source}: arguments do not fit {network_class.__name__}: {reason}"
        ) from None
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{source}: tensors do not fit {network_class.__name__}: {reason}"
        ) from None
    try:
        model_info(network)
    except UserError as error:
        raise UserError(f"{source}: {error}; take other weights") from None
    return network  # type: ignore[return-value]


def require_finite(source: str, network: nn.Module) -> None:
    """UserError where a weight, or what the network makes of a small image, is NaN or infinite:
    a network rounded to 8 bits would show it as an image."""
    for name, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{source}: {name} holds NaN or infinite values; take other weights")
    multiple = model_info(network).multiple_of
    side = -(-SIDE // multiple) * multiple
    image = torch.linspace(0, 1, 3 * side * side).reshape(1, 3, side, side)
    with torch.inference_mode():
        if not bool(torch.isfinite(network(image)).all()):
            raise UserError(f"{source}: these weights give NaN or infinite values; take others")


def _serialised(source: str, network: nn.Module, header: Mapping[str, str]) -> bytes:
    """The content of an artifact. Weights that a network uses twice are written twice; the class
    ties them again."""
    state = network.state_dict()
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise UserError(
                f"{source}: {name} is a {type(tensor).__name__} that get_extra_state gives, and an "
                "artifact holds tensors; make it an argument or a buffer"
            )
        if is_lazy(tensor):
            raise UserError(
                f"{source}: {name} has no shape before the first image; give the layer its number "
                "of input channels"
            )
    try:
        tensors = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }
        return safetensors.torch.save(tensors, {**header, DIGEST: as_json(tensors_digest(tensors))})
    except Exception as error:  # of several kinds
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{source}: its state cannot be written: {reason}; keep plain tensors"
        ) from None


def _names(value: Any) -> set[str]:
    """The keys of dictionaries inside `value`."""
    if isinstance(value, Mapping):
        return {*map(str, value), *_names(list(value.values()))}
    if isinstance(value, list | tuple):
        return {name for item in value for name in _names(item)}
    return set()


def _side(info: ModelInfo) -> int:
    """Of a small image on the network's grid."""
    return -(-SIDE // info.multiple_of) * info.multiple_of


def _output(source: str, network: nn.Module, height: int, width: int) -> Tensor:
    """What the network makes of an image; UserError where it fails, or states another shape."""
    info, name = model_info(network), qualified_name(network)
    size = f"{height}x{width}"
    remedy = "" if height == width else "; it must take any height and width: pad and crop inside"
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            output: Tensor = network(image)
            shape = tuple(output.shape)
    except Exception as error:  # the class may be anybody's
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{source}: {name} fails on an image {size}: {reason}{remedy}") from error
    grown = info.scale if info.takes_lr else 1
    if shape != (1, 3, height * grown, width * grown):
        raise UserError(
            f"{source}: {name} gives {shape} for {tuple(image.shape)}, which is not what "
            f"scale={info.scale} and takes_lr={info.takes_lr} state{remedy}"
        )
    return output


def _compare_twin(source: str, network: nn.Module, arguments: Mapping[str, Any]) -> ModelInfo:
    """What the network states; UserError where its twin differs."""
    info = model_info(network)
    name = qualified_name(network)
    if "<locals>" in name or name.startswith("__main__."):
        raise UserError(
            f"{source}: {name} cannot be found again by that name; define the class at the top of "
            "a module that can be imported"
        )
    if find_class(name, source) is not type(network):
        raise UserError(f"{source}: {name} is another class than the network's; rename one")
    for key, value in arguments.items():
        if "_target_" in _names(value):
            raise UserError(
                f"{source}: {key} holds a _target_, and artifacts rebuild networks from plain "
                "values: give a number, text, list or dict, and make the object in the class"
            )
    try:
        json.dumps(dict(arguments))
    except TypeError as error:
        raise UserError(f"{source}: the arguments of {name} must be JSON: {error}") from None
    tensors = safetensors.torch.load(_serialised(source, network, {}))
    twin = build(source, name, arguments, tensors).eval()
    side = _side(info)
    ours = _output(source, network.eval(), side, side)
    theirs = _output(source, twin, side, side)
    require_finite(source, network)
    if ours.shape != theirs.shape or not (ours - theirs).abs().max() <= SAME * ours.abs().max():
        raise UserError(
            f"{source}: {name} built again from its arguments and weights computes something "
            "else; what its output depends on must be an argument, a parameter or a buffer"
        )
    if (stated := model_info(twin)) != info:
        raise UserError(f"{source}: {name} built again from its arguments states {stated}")
    return info
