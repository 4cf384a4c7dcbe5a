"""Write a student for the engines in `web/`: NAME.kdw, whose format is in `web/README.md`."""

import json
from collections.abc import Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from kd_lightning.deploy.parity import compare
from kd_lightning.deploy.plain_body import Layer, PlainBody, plain_body
from kd_lightning.files import write_atomic
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import ModelInfo, Network

SUFFIX = ".kdw"
FORMAT = 2
LEVEL = 1 / 255  # largest difference from the network, in units of [0, 1]
PARTS = ("weight", "step", "bias", "slope", "top")  # of a layer
GOLDEN = (21, 27)  # height, width of the golden LR frame: odd, and wider than the receptive field


def write_browser(
    network: Network, metadata: Mapping[str, Any], path: Path, target: Path
) -> dict[str, float]:
    """Write `network` to `path`, and compare what was written with it.

    Args:
        metadata: of the artifact; its `degradation` goes into the file.
        target: what `path` becomes; names the student, and the file in errors.

    Returns:
        "largest difference" in [0, 1] over `parity.SIZES`.

    Raises:
        UserError: it is no plain body (`plain_body`), or the file computes something else.
    """
    body = plain_body(network, target)
    golden = golden_frame()
    tensors = {"golden.lr": golden, "golden.sr": _restored(network, golden)}
    for index, (layer, peak) in enumerate(zip(body.layers, peaks(body), strict=True)):
        for part, tensor in {**_parameters(layer), "peak": peak.bfloat16()}.items():
            tensors[f"layers.{index}.{part}"] = tensor
    stated = {
        "format": FORMAT,
        "name": target.stem,
        **{key: getattr(body.info, key) for key in ("scale", "takes_lr", "radius")},
        "factor": body.factor,
        "degradation": metadata.get("degradation"),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "layers": [
            {"in": fan_in, "out": fan_out, "kernel": 3, "activation": layer.activation}
            for layer in body.layers
            for fan_out, fan_in in [layer.weight.shape[:2]]
        ],
    }
    content = {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(content, {"kd_web": json.dumps(stated)}))
    return compare(network, read_browser(path), LEVEL, target)


def read_browser(path: Path) -> PlainBody:
    """The network in a file of `write_browser`, computed by torch: the reference of its format."""
    with safe_open(path, framework="pt") as file:
        stated = json.loads(file.metadata()["kd_web"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    layers = []
    for index, layer in enumerate(stated["layers"]):
        found = {part: tensors.get(f"layers.{index}.{part}") for part in PARTS}
        parts = {part: tensor.float() for part, tensor in found.items() if tensor is not None}
        if "step" in parts:
            parts["weight"] *= parts["step"][:, None, None, None]
        layers.append(Layer(activation=layer["activation"], **parts))
    takes_lr, factor = stated["takes_lr"], stated["factor"]
    info = ModelInfo(
        scale=stated["scale"],
        takes_lr=takes_lr,
        radius=stated["radius"],
        multiple_of=1 if takes_lr else factor,
        unshuffle_factor=0 if takes_lr else factor,
        upscale_skip=takes_lr,
    )
    return PlainBody(info, tuple(layers))


def _parameters(layer: Layer) -> dict[str, Tensor]:
    """PARTS of a layer as they are stored: what is not bfloat16 already is of 8-bit layers."""
    slope = None if layer.slope is None else layer.slope.bfloat16()
    kept: dict[str, Tensor | None] = {"slope": slope, "top": layer.top}
    if layer.step is None:
        kept |= {"weight": layer.weight.bfloat16(), "bias": layer.bias.bfloat16()}
    else:
        kept |= {"weight": layer.whole.to(torch.int8), "step": layer.step, "bias": layer.bias}
    return {part: tensor for part, tensor in kept.items() if tensor is not None}


def golden_frame() -> Tensor:
    """(*GOLDEN,3) uint8: waves, an edge, flat black and white, noise; shows wrong pixels, channels
    and borders."""
    height, width = GOLDEN
    y, x, c = np.mgrid[:height, :width, :3].astype(np.float64)
    frame = 128 + 90 * np.sin(0.9 * x + c) * np.cos(0.5 * y - c)
    frame = np.where(x + 2 * y > width, frame, 255 * (c != 1) * (x > 6))
    frame[height // 2 :, width // 2 :] += np.random.default_rng(0).normal(
        0, 40, (height - height // 2, width - width // 2, 3)
    )
    return torch.from_numpy(frame.round().clip(0, 255).astype(np.uint8))


@torch.inference_mode()
def peaks(body: PlainBody) -> list[Tensor]:
    """(out) float32 of each layer: the largest absolute value of its output in any of the frames
    of `_hard_frames`. Engines that compute in integers choose their ranges by it."""
    x = _hard_frames()
    if not body.info.takes_lr:
        x = upscale(x, body.info.scale).clamp(0, 1)
    return [maps.abs().amax(dim=(0, 2, 3)) for maps in islice(body.maps(x), 1, None)]


def _hard_frames(side: int = 20) -> Tensor:
    """(N,3,side,side) float32 in [0, 1] that drive a network further than photographs do: black
    and white noise in grains of 1 to 4 pixels, colours alike or each its own; stripes at several
    angles and chessboards, white on black and in pairs of saturated colours. At scale 1 nothing
    smooths a chessboard before the network, and it may drive maps further than all the others."""
    generator = torch.Generator().manual_seed(0)
    frames = []
    for grain, colours in product((1, 2, 3, 4), (1, 3)):
        coarse = torch.randint(0, 2, (4, colours, side, side), generator=generator).float()
        grains = coarse.repeat_interleave(grain, 2).repeat_interleave(grain, 3)
        frames.append(grains[..., :side, :side].expand(-1, 3, -1, -1))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    directions = ((1, 0), (0, 1), (1, 1), (1, -1), (1, 2), (2, 1))
    patterns = [
        ((across * x + down * y) // width % 2).float()
        for width, (across, down) in product((1, 2, 3, 4), directions)
    ]
    patterns += [
        (((x + across) // width + (y + down) // width) % 2).float()
        for width, across, down in product((1, 2, 3, 4), (0, 1), (0, 1))
    ]
    for pattern in patterns:
        dark, bright = torch.randint(0, 2, (2, 3, 1, 1), generator=generator).float()
        frames += [pattern.expand(1, 3, -1, -1), torch.lerp(dark, bright, pattern)[None]]
    return torch.cat(frames)


@torch.inference_mode()
def _restored(network: Network, lr: Tensor) -> Tensor:
    """(h,w,3) uint8 to (h*scale,w*scale,3) uint8, in float32."""
    sr = super_resolve(network, lr.permute(2, 0, 1)[None].float() / 255)
    return (sr[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
