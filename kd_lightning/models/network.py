"""What a network states about itself, and how its training-time layers become plain ones."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import torch
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.int8 import Int8Conv

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class Network(nn.Module):
    """A restoration network: `forward` maps float (B,3,H,W) in [0, 1] to an unclamped image, for
    any H and W.

    What it states is all that the rest of the project asks about it. An `nn.Module` with the first
    four attributes is as good; deriving from this class brings the defaults of the others.

    Attributes:
        scale: HR pixels per LR pixel.
        takes_lr: true if the input is the LR image, and the output `scale` times larger; false
            if the input is the interpolated image, and the output of the same shape.
        radius: pixels of the input, to each side, that one output pixel depends on.
        multiple_of: grid of the input, in pixels, on which tiles must start.
        any_size: whether its graph, traced at one height and width, holds for all others. False
            for networks that compute something from the size in Python; they run in torch only.
        unshuffle_factor: r >= 1 states that the network has a `body`, an nn.Sequential, and that
            `forward(x)` is `x + shuffle(body(unshuffle(x)))`: F.pixel_unshuffle by r of the image
            with its last row and column repeated up to multiples of r, F.pixel_shuffle by r,
            cropped to the image; with 1, `x + body(x)`. Backends then move pixels once, and only
            in 8 bits. 0: it is not.
        upscale_skip: states that the network takes the LR image, has a `body`, an nn.Sequential,
            and that `forward(lr)` is `upscale(lr, scale).clamp(0, 1)` plus F.pixel_shuffle by
            `scale` of `body(lr)`, see `kd_lightning.models.interpolate`. Backends then make the
            large image in 8 bits only.
        int8: the network rounds weights and activations to 8 bits (`kd_lightning.models.int8`), so
            that engines may differ by such a rounding.

    A `body` that is an nn.Sequential and called as a whole may be run by another engine, and its
    last layer's input is what feature distillation reads.
    """

    scale: int
    takes_lr: bool
    radius: int
    multiple_of: int
    any_size: bool = True
    unshuffle_factor: int = 0
    upscale_skip: bool = False
    int8: bool = False


def at_least(least: int, **arguments: int) -> None:
    """Refuse sizes of which no network can be made.

    Raises:
        ValueError: names the argument that is below `least`.
    """
    for name, value in arguments.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


@dataclass(frozen=True)
class ModelInfo:
    """What a network states; the attributes of `Network`."""

    scale: int
    takes_lr: bool
    radius: int
    multiple_of: int
    any_size: bool = True
    unshuffle_factor: int = 0
    upscale_skip: bool = False
    int8: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def model_info(network: nn.Module) -> ModelInfo:
    """What `network` states.

    Raises:
        UserError: it lacks one of the attributes that have no default, or one is of another type.
    """
    found: dict[str, Any] = {}
    for field in fields(ModelInfo):
        default = getattr(Network, field.name, None)
        value = getattr(network, field.name, default)
        wanted = bool if field.type is bool else int
        if type(value) is not wanted:
            raise UserError(
                f"{type(network).__name__}.{field.name} is {value!r}: a network must state scale, "
                "takes_lr, radius and multiple_of as kd_lightning.models.network.Network describes"
            )
        found[field.name] = value
    info = ModelInfo(**found)
    if min(info.scale, info.multiple_of) < 1 or min(info.radius, info.unshuffle_factor) < 0:
        raise UserError(f"{type(network).__name__} states impossible numbers: {info}")
    has_body = isinstance(getattr(network, "body", None), nn.Module)
    if info.upscale_skip and not (info.takes_lr and has_body):
        raise UserError(
            f"{type(network).__name__} states upscale_skip, but does not take the LR image or has "
            "no `body` that works on it; leave it False"
        )
    if info.unshuffle_factor and not has_body:
        raise UserError(
            f"{type(network).__name__} states unshuffle_factor={info.unshuffle_factor}, but has no "
            "`body` that works on the unshuffled image; leave it 0"
        )
    return info


def fuse(network: AnyNetwork) -> AnyNetwork:
    """A copy of the same output with plain layers: each one that has a method `fuse`, such as
    RepConv, is replaced by what that returns."""
    plain = deepcopy(network)
    for name, layer in _fusable(network, "fuse"):
        plain.set_submodule(name, layer.fuse())
    return plain


@torch.no_grad()
def fuse_and_round(network: AnyNetwork) -> AnyNetwork:
    """The network to write down: `fuse`, each parameter rounded to a number that bfloat16 holds
    exactly, so that in bf16 only activations are rounded; weights at levels of 8 bits stay, and so
    do complex and whole numbers."""
    network = fuse(network)
    for layer in network.modules():
        if not isinstance(layer, Int8Conv):
            for parameter in layer.parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.copy_(parameter.bfloat16())
    return network


def load_fused(network: nn.Module, plain: nn.Module) -> None:
    """Give `network` the output of `plain`, which is `fuse` of a network like it: all branches
    stay, and the layers that have a method `load_fused` take over those of `plain`.

    Raises:
        UserError: a layer has a method `fuse` and no `load_fused`, so that it would stay as it is.
    """
    for name, layer in _fusable(network, "fuse"):
        if not callable(getattr(layer, "load_fused", None)):
            raise UserError(
                f"{name} is a {type(layer).__name__}, which has a method fuse and none that takes "
                "over what fuse returns, so it would stay random: give it load_fused(plain)"
            )
    network.load_state_dict(plain.state_dict(), strict=False)
    for name, layer in _fusable(network, "load_fused"):
        layer.load_fused(plain.get_submodule(name))


def _fusable(network: nn.Module, method: str) -> Iterator[tuple[str, Any]]:
    """The outermost layers, by name, that have this method."""
    done: list[str] = []
    for name, layer in network.named_modules(remove_duplicate=False):
        if name and callable(getattr(layer, method, None)):
            if not any(name.startswith(f"{outer}.") for outer in done):
                yield name, layer
            done.append(name)
