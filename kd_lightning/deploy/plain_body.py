"""Networks that are a list of plain convolutions around a pixel-unshuffle: what engines of one's
own, such as those of a browser, can run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.network import ModelInfo, Network, fuse_and_round, model_info

Activation = Literal["none", "relu", "prelu"]


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution (zero padding 1) and what follows it; all tensors float32.

    Attributes:
        weight: (out,in,3,3).
        bias: (out).
        slope: of the negative values, (1) or (out), for prelu; else None.
    """

    weight: Tensor
    bias: Tensor
    activation: Activation = "none"
    slope: Tensor | None = None


@dataclass(frozen=True)
class PlainBody:
    """The network x + shuffle(layers(unshuffle(x))) of `Network.unshuffle_factor`."""

    info: ModelInfo
    layers: tuple[Layer, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """(B,3,H,W) float32 in [0, 1] to the same shape, not clamped."""
        factor, (height, width) = self.info.unshuffle_factor, x.shape[-2:]
        *_, detail = self.maps(x)
        return x + F.pixel_shuffle(detail, factor)[..., :height, :width]

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """`x` unshuffled, then the output of each layer, (B,out,ceil(H/factor),ceil(W/factor))."""
        factor, (height, width) = self.info.unshuffle_factor, x.shape[-2:]
        pads = (0, -width % factor, 0, -height % factor)
        maps = F.pixel_unshuffle(F.pad(x, pads, mode="replicate"), factor)
        yield maps
        for layer in self.layers:
            maps = F.conv2d(maps, layer.weight, layer.bias, padding=1)
            if layer.activation == "relu":
                maps = maps.relu()
            elif layer.slope is not None:
                maps = F.prelu(maps, layer.slope)
            yield maps


def plain_body(network: Network, source: Path) -> PlainBody:
    """What the network states and holds, as plain layers: `fuse_and_round` of it.

    Args:
        source: is named in errors.

    Raises:
        UserError: it states no `unshuffle_factor`, or its body has other layers than 3x3
            convolutions, each followed by nothing, a ReLU or a PReLU.
    """
    info = model_info(network)
    name = type(network).__name__
    if not info.unshuffle_factor or info.takes_lr:
        raise UserError(
            f"{source}: a {name} cannot be exported as plain layers: it states no unshuffle_factor "
            "(kd_lightning.models.network); student=student_fast does"
        )
    layers: list[Layer] = []
    for place, module in enumerate(fuse_and_round(network).body):  # type: ignore[arg-type]
        open_end = layers and layers[-1].activation == "none"
        if _is_plain_convolution(module):
            bias = (
                module.bias
                if module.bias is not None
                else module.weight.new_zeros(len(module.weight))
            )
            layers.append(Layer(module.weight.detach(), bias.detach()))
        elif open_end and type(module) is nn.ReLU:
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, "relu")
        elif open_end and type(module) is nn.PReLU:
            slope = module.weight.detach()
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, "prelu", slope)
        else:
            raise UserError(
                f"{source}: a {name} cannot be exported as plain layers: layer {place} of its "
                f"body, {module}, is no 3x3 convolution, and no ReLU or PReLU after one"
            )
    return PlainBody(info, tuple(layers))


def _is_plain_convolution(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.padding == (1, 1)
        and module.padding_mode == "zeros"
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
    )
