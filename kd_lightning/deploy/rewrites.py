"""A network in other forms of the same output, which CPUs run faster or round less."""

from copy import deepcopy
from functools import partial
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.network import Network, fuse, model_info
from kd_lightning.models.students import Unshuffle

PROBE = 16  # pixels, at least, of the image that shows which layers read it


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
            _is_plain(layer)
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


class FromBlocks(nn.PixelShuffle):
    """The inverse of `_SpaceToDepth` as a layer."""

    def forward(self, blocks: Tensor) -> Tensor:
        return cast(Tensor, _DepthToSpace.apply(blocks, self.upscale_factor))


class _OnBlocks(nn.Module):
    """What `Network.unshuffle_factor` states, with the pixels in the order of `_SpaceToDepth`.

    Args:
        body: see `Network`; its first and last layers become theirs in that order.
        side: the factor.
        split: the first layer reads both numbers of a value (`split_hi_lo`), which are told apart
            next to the graph's input, where OpenVINO still computes in float32.
    """

    def __init__(self, body: nn.Sequential, side: int, split: bool) -> None:
        super().__init__()
        order = blocks_order(side)
        first, last = cast(nn.Conv2d, body[0]), cast(nn.Conv2d, body[-1])
        first.weight = nn.Parameter(first.weight.detach()[:, order])
        last.weight = nn.Parameter(last.weight.detach()[order])
        if last.bias is not None:
            last.bias = nn.Parameter(last.bias.detach()[order])
        if split:
            first.weight = nn.Parameter(first.weight.detach().repeat(1, 2, 1, 1))
            first.in_channels *= 2
        self.body = body
        self.split = split
        self.unshuffle = Unshuffle(side)
        self.shuffle = FromBlocks(side)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        parts = split_hi_lo(x) if self.split else (x,)
        side = self.unshuffle.downscale_factor
        blocks = [_SpaceToDepth.apply(self.unshuffle.padded(part), side) for part in parts]
        detail = self.shuffle(self.body(torch.cat(blocks, dim=1)))
        return x + detail[..., :height, :width]

    @staticmethod
    def fits(network: Network) -> bool:
        factor = model_info(network).unshuffle_factor
        if factor < 2:  # nothing to move
            return False
        body = network.body
        if not isinstance(body, nn.Sequential):
            return False
        first, last = body[0], body[-1]
        layers = [layer for _, layer in body.named_modules(remove_duplicate=False)]
        channels = 3 * factor**2
        return (
            layers.count(first) == layers.count(last) == 1
            and _is_plain(first)
            and _is_plain(last)
            and (first.in_channels, first.groups) == (channels, 1)
            and (last.out_channels, last.groups) == (channels, 1)
        )


class _HiLoConv(nn.Conv2d):
    """A convolution of the same output, which reads each value as two numbers."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__(
            2 * plain.in_channels,
            plain.out_channels,
            plain.kernel_size,  # type: ignore[arg-type]
            plain.stride,  # type: ignore[arg-type]
            plain.padding,  # type: ignore[arg-type]
            plain.dilation,  # type: ignore[arg-type]
            plain.groups,
            plain.bias is not None,
            plain.padding_mode,
        )
        self.weight = nn.Parameter(plain.weight.detach().repeat(1, 2, 1, 1))
        self.bias = plain.bias

    def forward(self, x: Tensor) -> Tensor:
        groups = zip(*(part.chunk(self.groups, dim=1) for part in split_hi_lo(x)), strict=True)
        return super().forward(torch.cat([part for group in groups for part in group], dim=1))


def split_hi_lo(x: Tensor) -> tuple[Tensor, Tensor]:
    """The values rounded down to multiples of 1/256, which bfloat16 holds exactly, and the rest."""
    coarse = (x * 256).floor() / 256
    return coarse, x - coarse


def split_input(network: Network) -> Network:
    """A copy that computes the same, whose convolutions of the image read each value of it as two
    numbers (`split_hi_lo`). Rounding the image is most of what bf16 loses: in the brighter half of
    the range it has steps of one 8-bit level."""
    network = fuse(network)
    for name in _readers_of_the_image(network):
        network.set_submodule(name, _HiLoConv(cast(nn.Conv2d, network.get_submodule(name))))
    return network


def optimize_for_cpu(network: Network, split: bool = False) -> nn.Module:
    """A module that computes the same, in the forms that CPUs run faster: `_FourPixels` for
    convolutions to few channels, and `_OnBlocks` where the network states an `unshuffle_factor`
    above 1.

    Args:
        split: as `split_input` too.
    """
    module: nn.Module
    network = fuse(network)
    if _OnBlocks.fits(network):
        body = cast(nn.Sequential, network.body)
        module = _OnBlocks(body, model_info(network).unshuffle_factor, split)
    else:
        module = split_input(network) if split else network
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if _FourPixels.fits(layer):
            module.set_submodule(name, _FourPixels(cast(nn.Conv2d, layer)))
    return module


def blocks_order(side: int) -> Tensor:
    """For each channel of ONNX's SpaceToDepth of an RGB image, that of F.pixel_unshuffle."""
    return torch.arange(3 * side**2).view(3, -1).T.flatten()


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution and nothing more: no subclass, no hook that changes it."""
    return type(layer) is nn.Conv2d and not (layer._forward_hooks or layer._forward_pre_hooks)


def _readers_of_the_image(network: Network) -> list[str]:
    """Names of the plain convolutions that read the image or what is made of it without weights,
    in whatever order they are declared: the input of any other one needs a gradient."""
    found: list[str] = []

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs and not inputs[0].requires_grad:
            found.append(name)

    with torch.inference_mode(False), torch.enable_grad():
        probe = deepcopy(network).eval().requires_grad_(True)
        place = next(probe.parameters()).device
        layers = probe.named_modules(remove_duplicate=False)
        for name, layer in [item for item in layers if _is_plain(item[1])]:
            layer.register_forward_pre_hook(partial(note, name))
        side = -(-PROBE // network.multiple_of) * network.multiple_of
        probe(torch.zeros(1, 3, side, side, device=place))
    return list(dict.fromkeys(found))
