"""A network in other forms of the same output, which CPUs run faster or round less."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.network import Network, fuse
from kd_lightning.models.students import StudentFast, Unshuffle


class _FourPixels(nn.Module):
    """A 3x3 convolution to `few` channels that makes 2x2 pixels at a time: the same numbers from a
    4x4 kernel at stride 2 and a pixel-shuffle. A CPU multiplies for 16 output channels at once, so
    for 3 of them the plain form wastes 13 lanes; this one takes 16 taps for 12 lanes instead of 36,
    which made the frame of a StudentCNN 4 to 6 % faster in OpenVINO."""

    few = 4

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        fan_out, fan_in = plain.weight.shape[:2]
        self.wide = nn.Conv2d(fan_in, 4 * fan_out, 4, stride=2)
        weight = plain.weight.new_zeros(fan_out, 2, 2, fan_in, 4, 4)
        for row in range(2):
            for column in range(2):
                weight[:, row, column, :, row : row + 3, column : column + 3] = (
                    plain.weight.detach()
                )
        bias = plain.bias if plain.bias is not None else plain.weight.new_zeros(fan_out)
        self.wide.weight = nn.Parameter(weight.flatten(0, 2))
        self.wide.bias = nn.Parameter(bias.detach().repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        out = F.pixel_shuffle(self.wide(F.pad(x, (1, 2, 1, 2))), 2)
        return out[..., :height, :width]

    @classmethod
    def fits(cls, layer: nn.Module) -> bool:
        return (
            isinstance(layer, nn.Conv2d)
            and layer.out_channels <= cls.few
            and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
        )


class _SpaceToDepth(torch.autograd.Function):
    """Pixel-unshuffle with the pixels of a block outside, the channels inside: the order of ONNX's
    SpaceToDepth, which OpenVINO computes in one pass where it transposes for torch's order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        blocks = F.pixel_unshuffle(x, side).unflatten(1, (x.shape[1], -1))
        return blocks.transpose(1, 2).flatten(1, 2)

    @staticmethod
    def symbolic(g: Any, x: Any, side: int) -> Any:
        return g.op("SpaceToDepth", x, blocksize_i=side)


class _DepthToSpace(torch.autograd.Function):
    """The inverse of `_SpaceToDepth`."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, side: int) -> Tensor:
        channels = blocks.unflatten(1, (side**2, -1)).transpose(1, 2).flatten(1, 2)
        return F.pixel_shuffle(channels, side)

    @staticmethod
    def symbolic(g: Any, blocks: Any, side: int) -> Any:
        return g.op("DepthToSpace", blocks, blocksize_i=side, mode_s="DCR")


class _ToBlocks(Unshuffle):
    """`Unshuffle` in the order of `_SpaceToDepth`; of both numbers of a value where `split`."""

    def __init__(self, side: int, split: bool) -> None:
        super().__init__(side)
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        parts = split_hi_lo(x) if self.split else (x,)
        side = self.downscale_factor
        return torch.cat([_SpaceToDepth.apply(self.padded(part), side) for part in parts], dim=1)


class FromBlocks(nn.PixelShuffle):
    def forward(self, blocks: Tensor) -> Tensor:
        return cast(Tensor, _DepthToSpace.apply(blocks, self.upscale_factor))


class _Split(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(split_hi_lo(x), dim=1)


def split_hi_lo(x: Tensor) -> tuple[Tensor, Tensor]:
    """The values rounded down to multiples of 1/256, which bfloat16 holds exactly, and the rest."""
    coarse = (x * 256).floor() / 256
    return coarse, x - coarse


def split_input(network: Network) -> Network:
    """A copy that computes the same, whose first convolution reads each value of the image as two
    numbers (`split_hi_lo`). Rounding the image is most of what bf16 loses: in the brighter half of
    the range it has steps of one 8-bit level."""
    network = fuse(network)
    first = _doubled(network)
    name = next(name for name, layer in network.named_modules() if layer is first)
    network.set_submodule(name, nn.Sequential(_Split(), first))
    return network


def optimize_for_cpu(network: Network, split: bool = False) -> Network:
    """A copy that computes the same, in the forms that CPUs run faster: `_FourPixels` for
    convolutions to few channels, `_ToBlocks` and `FromBlocks` around those of a StudentFast.

    Args:
        split: as `split_input` too, done where OpenVINO still computes in float32: next to the
            graph's input.
    """
    if not isinstance(network, StudentFast):
        network = split_input(network) if split else fuse(network)
    else:
        network = fuse(network)
        order = blocks_order(network.multiple_of)
        first, last = _convolutions(network)[0], _convolutions(network)[-1]
        first.weight = nn.Parameter(first.weight.detach()[:, order])
        last.weight = nn.Parameter(last.weight.detach()[order])
        last.bias = nn.Parameter(cast(Tensor, last.bias).detach()[order])
        if split:
            _doubled(network)
        network.unshuffle = _ToBlocks(network.multiple_of, split)
        network.shuffle = FromBlocks(network.multiple_of)
    for name, layer in list(network.named_modules()):
        if _FourPixels.fits(layer):
            network.set_submodule(name, _FourPixels(layer))
    return network


def blocks_order(side: int) -> Tensor:
    """For each channel of ONNX's SpaceToDepth of an RGB image, that of F.pixel_unshuffle."""
    return torch.arange(3 * side**2).view(3, -1).T.flatten()


def _convolutions(network: Network) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _doubled(network: Network) -> nn.Conv2d:
    """The first convolution, made to read the sum of two images."""
    first = _convolutions(network)[0]
    first.weight = nn.Parameter(first.weight.detach().repeat(1, 2, 1, 1))
    first.in_channels *= 2
    return first
