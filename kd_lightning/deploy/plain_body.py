"""Networks that are a list of plain convolutions beside the interpolated image: what engines of
one's own, such as those of a browser, can run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.int8 import Int8Conv, Uint8ReLU, round_activations, rounded, steps, whole
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.network import ModelInfo, Network, fuse_and_round, model_info

Activation = Literal["none", "relu", "prelu", "relu8"]


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution (zero padding 1) and what follows it; all tensors float32.

    Attributes:
        weight: (out,in,3,3).
        bias: (out).
        slope: of the negative values, (1) or (out), for prelu; else None.
        top: (), for relu8, which rounds to 256 levels from 0 to it; else None.
        step: (out), if each weight is a whole multiple, -128 to 127, of its output's; else None.
    """

    weight: Tensor
    bias: Tensor
    activation: Activation = "none"
    slope: Tensor | None = None
    top: Tensor | None = None
    step: Tensor | None = None

    @property
    def whole(self) -> Tensor:
        """`weight` in steps: whole numbers, float32."""
        assert self.step is not None
        return whole(self.weight, self.step)

    def __call__(self, maps: Tensor) -> Tensor:
        maps = F.conv2d(maps, self.weight, self.bias, padding=1)
        if self.activation == "relu":
            return maps.relu()
        if self.slope is not None:
            return F.prelu(maps, self.slope)
        return maps if self.top is None else round_activations(maps.relu(), self.top)


@dataclass(frozen=True)
class PlainBody:
    """The network of `Network.unshuffle_factor` or `Network.upscale_skip`: layers on blocks of the
    interpolated image or on the LR image, whose output is shuffled and added to the interpolated
    image."""

    info: ModelInfo
    layers: tuple[Layer, ...]

    @property
    def factor(self) -> int:
        """Of the pixel-shuffle at the end."""
        return self.info.scale if self.info.takes_lr else self.info.unshuffle_factor

    def __call__(self, x: Tensor) -> Tensor:
        """(B,3,H,W) float32 in [0, 1] to the same shape or, of LR images, `scale` times the
        height and width; not clamped."""
        image = upscale(x, self.info.scale).clamp(0, 1) if self.info.takes_lr else x
        height, width = image.shape[-2:]
        *_, detail = self.maps(x)
        return image + F.pixel_shuffle(detail, self.factor)[..., :height, :width]

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """What the first layer reads, `x` unshuffled or the LR image `x`; then the output of each
        layer. (B,out,h,w): of an unshuffled image, h and w are its height and width over the
        factor, rounded up."""
        if self.info.takes_lr:
            maps = x
        else:
            factor, (height, width) = self.factor, x.shape[-2:]
            pads = (0, -width % factor, 0, -height % factor)
            maps = F.pixel_unshuffle(F.pad(x, pads, mode="replicate"), factor)
        yield maps
        for layer in self.layers:
            maps = layer(maps)
            yield maps


def plain_body(network: Network, source: Path) -> PlainBody:
    """What the network states and holds, as plain layers: `fuse_and_round` of it.

    Args:
        source: is named in errors.

    Raises:
        UserError: it states neither `unshuffle_factor` nor `upscale_skip`, or its body has other
            layers than 3x3 convolutions, each followed by nothing, a ReLU, a PReLU or, but for
            the last, a Uint8ReLU.
    """
    info = model_info(network)
    name = type(network).__name__
    if not (info.unshuffle_factor or info.upscale_skip):
        raise UserError(
            f"{source}: a {name} cannot be exported as plain layers: it states neither "
            "unshuffle_factor nor upscale_skip (kd_lightning.models.network); "
            "student=student_fast does"
        )
    layers: list[Layer] = []
    modules = list(fuse_and_round(network).body)  # type: ignore[arg-type]
    for place, module in enumerate(modules):
        activation = _activation(module, last=place == len(modules) - 1)
        if is_plain_convolution(module):
            layers.append(_layer(module))
        elif layers and layers[-1].activation == "none" and activation:
            layers[-1] = replace(layers[-1], **activation)
        else:
            raise UserError(
                f"{source}: a {name} cannot be exported as plain layers: layer {place} of its "
                f"body, {module}, is no 3x3 convolution, and no ReLU, PReLU or Uint8ReLU after one"
            )
    return PlainBody(info, tuple(layers))


def _layer(module: nn.Conv2d) -> Layer:
    weight = module.weight.detach()
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
    if isinstance(module, Int8Conv):
        return Layer(rounded(weight), bias, step=steps(weight))
    return Layer(weight, bias)


def _activation(module: nn.Module, last: bool) -> dict[str, Any]:
    """The fields of a `Layer` that `module` follows; none where it is no activation of those."""
    if type(module) is nn.PReLU:
        return {"activation": "prelu", "slope": module.weight.detach()}
    if type(module) is Uint8ReLU and module.top:  # without a top it does not round
        return {} if last else {"activation": "relu8", "top": module.top.detach()}
    return {"activation": "relu"} if type(module) in (nn.ReLU, Uint8ReLU) else {}


def is_plain_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(module, nn.Conv2d)
        and type(module) in (nn.Conv2d, Int8Conv)
        and module.kernel_size == (3, 3)
        and module.padding == (1, 1)
        and module.padding_mode == "zeros"
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
    )
