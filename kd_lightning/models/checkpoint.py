"""Weights files: read without unpickling, told apart by their tensors alone."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.models.artifact import build, read_safetensors, require_finite
from kd_lightning.models.network import Network, fuse_and_round
from kd_lightning.models.swinir import SwinIR

State = dict[str, Tensor]
WRAPPERS = ("params_ema", "params", "state_dict")  # best first: averaged weights, if they are there
ORIGIN = "origin"  # of a checkpoint: what an artifact says of the run
STUDENT = "student."  # begins the names of a student's tensors in a checkpoint of our own


def read_state(path: Path) -> State:
    """The network's state dict in a .safetensors (an artifact too), or in a .pth/.pt/.ckpt: a bare
    one, BasicSR's `net_g_*.pth`, or a training checkpoint of our own, whose student it is.

    Raises:
        UserError: no such file, not loadable without unpickling objects, damaged, or no state dict.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        return read_safetensors(path)[1]
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{path}: not readable as plain tensors ({reason}); give a .safetensors, or a .pth "
            "that holds nothing but a state dict"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
    strays = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strays:
        raise UserError(f"{path}: holds no tensor under {strays[0]!r}, so it is no state dict")
    student = {
        name.removeprefix(STUDENT): value
        for name, value in content.items()
        if name.startswith(STUDENT)
    }
    return student or dict(content)


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """The student of a training checkpoint of our own, as its artifact would hold it (fused, its
    parameters rounded; eval, frozen), and metadata: `arguments`, `steps` and, where the checkpoint
    has them, what the run's own artifact says of it: `config_sha256`, `loss` and `degradation`.

    Raises:
        UserError: not such a checkpoint, or damaged, or its class is not known here.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    remedy = "give the checkpoints/best.ckpt or the student.safetensors of a run"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch's reader raises nearly anything for a file of another kind
        raise UserError(f"{path}: not a checkpoint, or damaged; {remedy}") from None
    try:
        node = dict(content["hyper_parameters"]["student"])
        tensors = dict(content["state_dict"])
        origin = dict(content.get(ORIGIN) or {})
        target = str(node["_target_"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise UserError(
            f"{path}: not a checkpoint of train.py, it names no student's class; {remedy}"
        ) from None
    arguments = student_arguments(node)
    own = {k.removeprefix(STUDENT): v for k, v in tensors.items() if k.startswith(STUDENT)}
    network = build(str(path), target, arguments, own, plain=False)
    metadata = {**origin, "arguments": arguments, "steps": content.get("global_step")}
    network = fuse_and_round(network).eval().requires_grad_(False)
    require_finite(str(path), network)
    return network, metadata


def student_arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in a configuration's node, without Hydra's own keys."""
    return {key: value for key, value in node.items() if not key.startswith("_")}


def swinir_arguments(state: Mapping[str, Tensor], source: Path | str) -> dict[str, Any]:
    """The arguments of ``SwinIR`` that fit ``state``; ``source`` is named in errors.

    ``img_range`` leaves no trace in the tensors. It is 1 in all released models but those for JPEG
    artefacts, which alone have windows of 7.

    Raises:
        UserError: the tensors are not a SwinIR's.
    """
    tables = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    for name in ("conv_first.weight", tables, "conv_after_body.weight"):
        if name not in state and name.replace(".weight", ".0.weight") not in state:
            found = ", ".join(list(state)[:3])
            raise UserError(
                f"{source}: no SwinIR: found {found}, ..., expected {name} among its tensors; "
                "teacher=spandrel loads other architectures"
            )
    blocks = [
        (int(match[1]), int(match[2]))
        for name in state
        if (match := re.match(r"layers\.(\d+)\..*blocks\.(\d+)\.norm1\.weight", name))
    ]
    depths = [
        1 + max(block for group, block in blocks if group == index)
        for index in range(1 + max(group for group, _ in blocks))
    ]
    embed_dim, in_chans = state["conv_first.weight"].shape[:2]
    window = (math.isqrt(state[tables].shape[0]) + 1) // 2
    upsampler, upscale = _upsampler(state, in_chans)
    first = "layers.{}.residual_group.blocks.0."
    return {
        "upscale": upscale,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": depths,
        "num_heads": [
            state[first.format(i) + "attn.relative_position_bias_table"].shape[1]
            for i in range(len(depths))
        ],
        "window_size": window,
        "mlp_ratio": state[first.format(0) + "mlp.fc1.weight"].shape[0] / embed_dim,
        "qkv_bias": first.format(0) + "attn.qkv.bias" in state,
        "img_range": 255.0 if upsampler == "" and window == 7 else 1.0,
        "upsampler": upsampler,
        "resi_connection": "1conv" if "conv_after_body.weight" in state else "3conv",
    }


def _upsampler(state: Mapping[str, Tensor], in_chans: int) -> tuple[str, int]:
    if "conv_up1.weight" in state:
        return "nearest+conv", 4 if "conv_up2.weight" in state else 2
    steps = [
        weight.shape[0] / (weight.shape[1] if "conv_last.weight" in state else in_chans)
        for name, weight in state.items()
        if re.fullmatch(r"upsample\.\d+\.weight", name)
    ]
    scale = math.isqrt(round(math.prod(steps)))
    if "conv_before_upsample.0.weight" in state:
        return "pixelshuffle", scale
    return ("pixelshuffledirect", scale) if steps else ("", 1)


def load_swinir(path: Path, scale: int, expect: Mapping[str, Any] | None = None) -> SwinIR:
    """The SwinIR that the state dict at ``path`` describes, on the CPU.

    Raises:
        UserError: another architecture, scale or variant (arguments in ``expect``) than asked for.
    """
    state = read_state(path)
    found = swinir_arguments(state, path)
    for key, wanted in {"upscale": scale, **(expect or {})}.items():
        value = found[key]
        if value != (list(wanted) if isinstance(value, list) else wanted):
            raise UserError(
                f"{path}: a SwinIR with {key}={value}, expected {key}={wanted}; give other "
                "weights, or another teacher or scale"
            )
    return build_swinir(state, found, path)


def build_swinir(state: State, arguments: Mapping[str, Any], source: Path | str) -> SwinIR:
    """A SwinIR with these arguments and weights; every tensor must fit (UserError)."""
    network = SwinIR(**arguments)
    try:
        network.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{source}: almost a SwinIR, but: {reason}") from error
    return network
