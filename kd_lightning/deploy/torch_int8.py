"""Students in 8 bits through torch's integer convolutions (oneDNN) on a CPU.

Sums of whole numbers are exact in any order, and each layer writes a byte a number where float32
writes four and is rounded in further passes.
"""

import platform
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.deploy.on_lr import LEVELS, OnLr
from kd_lightning.deploy.plain_body import is_plain_convolution
from kd_lightning.models.int8 import LEAST, Int8Conv, Uint8ReLU, rounded, steps, whole
from kd_lightning.models.interpolate import KERNEL_RADIUS
from kd_lightning.models.network import Network, fuse

X86 = ("x86_64", "amd64")  # as Linux and macOS, and Windows name it
GEOMETRY = ([1, 1], [1, 1], [1, 1], 1)  # stride, padding, dilation, groups


class IntegerModel(nn.Module):
    """What `network` computes: (B,3,h,w) float in [0, 1] to (B,3,h*scale,w*scale). An image that
    is no multiple of 1/255 is read by a first layer in float32.

    Args:
        network: one that `fits`.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.scale = network.scale
        self.on_lr = OnLr(network)
        self.on_lr.body = integer_layers(self.on_lr.body)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.on_lr(x))

    def frame(self, frame: Tensor) -> Tensor:
        """(B,h,w,3) uint8 to (B,h*scale,w*scale,3) uint8."""
        pixels = frame.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        # In place what `Interpolation` and `FromBlocks` do: theirs make a frame half as long again.
        levels = pixels.float()
        image = F.conv2d(levels, self.on_lr.skip, padding=KERNEL_RADIUS)
        for factor in self.on_lr.interpolation.at_borders(levels):
            image.mul_(factor)
        image.clamp_(0, LEVELS).add_(self.on_lr.body(pixels)).round_().clamp_(0, LEVELS)
        blocks = image.byte().permute(0, 2, 3, 1).unflatten(3, (self.scale, self.scale, 3))
        return blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    @staticmethod
    def fits(network: Network) -> bool:
        """Whether every layer of it multiplies integers, and this machine does so exactly."""
        if not OnLr.fits(network):
            return False
        body = list(cast(nn.Sequential, fuse(network).body))
        return (
            len(body) % 2 == 1
            and all(type(m) is Int8Conv and is_plain_convolution(m) for m in body[::2])
            and all(type(m) is Uint8ReLU and float(m.top) > LEAST for m in body[1::2])
            and machine_adds_exactly()
        )


def integer_layers(body: nn.Sequential) -> nn.Sequential:
    """The layers of an `OnLr` as integer convolutions, each with the rounding that follows it."""
    layers = list(body)
    step, found = 1.0, []
    for convolution, rounding in zip(layers[::2], [*layers[1::2], None], strict=True):
        top = None if rounding is None else float(cast(Uint8ReLU, rounding).top)
        found.append(IntegerConv(cast(Int8Conv, convolution), step, top))
        step = (top or 0) / 255
    return nn.Sequential(*found)


class IntegerConv(nn.Module):
    """A 3x3 convolution (zero padding 1) and the ReLU in 256 levels after it.

    Args:
        plain: the convolution, of numbers; it rounds its weights.
        step: (B,in,h,w) uint8 times this are the input; the convolution may read floats as well.
        top: of the levels, from 0, as which the output is (B,out,h,w) uint8; None where no ReLU
            follows: it is float32.
    """

    def __init__(self, plain: Int8Conv, step: float, top: float | None) -> None:
        super().__init__()
        self.plain = plain
        self.step = step
        self.top = top
        scales = steps(plain.weight)
        weight = whole(rounded(plain.weight), scales).to(torch.int8)
        packed = torch.ops.onednn.qconv_prepack(weight, scales, step, 0, *GEOMETRY)
        zero_points = torch.zeros(len(scales), dtype=torch.int32)
        bias = None if plain.bias is None else plain.bias.detach()
        self.weight: tuple[Any, ...] = (packed, scales, zero_points, bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.uint8:
            out = self.plain(x)
            return out if self.top is None else as_levels(out, self.top)
        if self.top is None:
            output: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        else:
            output = (self.top / 255, 0, torch.uint8, "relu", [], "")
        run = torch.ops.onednn.qconv2d_pointwise
        return cast(Tensor, run(x, self.step, 0, *self.weight, *GEOMETRY, *output))


def as_levels(x: Tensor, top: float) -> Tensor:
    """uint8: the nearest of 256 levels from 0 to `top`."""
    return x.mul(255 / top).round_().clamp_(0, 255).byte()


@cache
@torch.inference_mode()
def machine_adds_exactly() -> bool:
    """Whether this torch has the convolutions, and the CPU's sums are whole at the largest numbers:
    without VNNI's instructions they saturate at 16 bits. Elsewhere than on x86 oneDNN may be exact
    and slow."""
    if platform.machine().lower() not in X86:
        return False
    plain = Int8Conv(32, 16, 3, padding=1)
    plain.weight.fill_(1.0)
    assert plain.bias is not None
    plain.bias.zero_()
    x = torch.full((1, 32, 16, 16), 255, dtype=torch.uint8)
    try:
        found = IntegerConv(plain, 1.0, None)(x)
    except (RuntimeError, AttributeError, TypeError):
        return False
    return bool(torch.equal(found.round(), F.conv2d(x.float(), plain.weight, padding=1).round()))
