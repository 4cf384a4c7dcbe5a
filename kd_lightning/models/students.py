"""Student networks: small CNNs that restore an interpolated image.

A student maps (B,3,H,W) in [0, 1] to the same shape, unclamped, for any H and W; the exceptions are
`StudentDirect` and `StudentCNN(process="half")`, which take the LR image.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.int8 import Int8Conv, Uint8ReLU, rounded, rounded_zero_sum
from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale
from kd_lightning.models.network import Network, at_least
from kd_lightning.models.rep import RepConv

LUMA = 0.299, 0.587, 0.114  # of red, green and blue in BT.601's luma, as Pillow has it
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "prelu": nn.PReLU}


def convolution_stack(
    channels: list[int],
    activation: Callable[[], nn.Module],
    rep: bool,
    zero_sum: bool,
    int8: bool = False,
) -> nn.Sequential:
    """3x3 convolutions from each number of channels to the next, an activation between each two.

    Args:
        rep: make them RepConv.
        zero_sum: with `rep`, the first one does not see flat areas: what a network with a skip adds
            there is then the same at any brightness.
        int8: round their weights to 8 bits.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(channels):
        if rep:
            layers.append(RepConv(fan_in, fan_out, 3 if zero_sum and not layers else 0, int8))
        else:
            layer = Int8Conv if int8 else nn.Conv2d
            layers.append(layer(fan_in, fan_out, 3, padding=1))
        layers.append(activation())
    return nn.Sequential(*layers[:-1])


class StudentCNN(Network):
    """The specified student: Conv3x3 3-64-64-64-3 with ReLU, 77,379 parameters.

    Args:
        scale: HR pixels per LR pixel, 1 to 4.
        residual: add the input to the output, so that the layers learn only the detail.
        process: "full" runs on the interpolated image; "half" runs on the LR image and
            interpolates the result, at 1/scale**2 of the compute.
        rep: train the convolutions as RepConv; `fuse` is the student without it.
    """

    multiple_of = 1

    def __init__(
        self,
        scale: int = 2,
        residual: bool = False,
        process: Literal["full", "half"] = "full",
        rep: bool = False,
    ) -> None:
        super().__init__()
        if process not in ("full", "half"):
            raise ValueError(f"process must be full or half, not {process!r}")
        self.scale = scale
        self.residual = residual
        self.takes_lr = process == "half"
        self.unshuffle_factor = int(residual and not self.takes_lr)
        self.radius = 4 + (KERNEL_RADIUS if self.takes_lr else 0)
        relu = partial(nn.ReLU, inplace=True)  # saves a write of 64 full-size maps
        self.body = convolution_stack([3, 64, 64, 64, 3], relu, rep, zero_sum=residual)

    def forward(self, x: Tensor) -> Tensor:
        sr = self.body(x)
        if self.residual:
            sr = sr + x
        return upscale(sr, self.scale) if self.takes_lr else sr


class StudentFast(Network):
    """Convolutions on the pixel-unshuffled image, pixel-shuffle, global skip.

    The unshuffled image has `stride`**2 times the channels at 1/stride of the size, so a layer
    costs 1/stride**2 of what it costs on the full image; at stride 2 nothing is lost on an image
    interpolated by 2 (Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using
    an Efficient Sub-Pixel Convolutional Neural Network", for the shuffle).

    Args:
        scale: HR pixels per LR pixel, 1 to 4.
        width: channels of the hidden layers.
        depth: number of 3x3 convolutions, at least 2.
        stride: factor of the pixel-unshuffle.
        activation: relu, silu, gelu or prelu, between the convolutions.
        rep: train the convolutions as RepConv; `fuse` is the student without it.
        grey: add the same detail to red, green and blue: luma is restored, and Cb and Cr, of which
            a codec keeps a quarter, stay as they are.
    """

    takes_lr = False

    def __init__(
        self,
        scale: int = 2,
        width: int = 32,
        depth: int = 9,
        stride: int = 2,
        activation: str = "relu",
        rep: bool = False,
        grey: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}: {activation!r}")
        at_least(1, width=width, stride=stride)
        at_least(2, depth=depth)
        self.scale = scale
        self.multiple_of = stride
        self.radius = stride * depth + stride - 1
        self.unshuffle_factor = stride
        channels = [3 * stride**2] + [width] * (depth - 1) + [3 * stride**2]
        self.unshuffle = Unshuffle(stride)
        self.body = convolution_stack(channels, ACTIVATIONS[activation], rep, zero_sum=True)
        if grey:
            self.body[-1] = Grey(width, stride**2, rep)
        self.shuffle = nn.PixelShuffle(stride)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        detail = self.shuffle(self.body(self.unshuffle(x)))
        return x + detail[..., :height, :width]


class FromLuma(nn.Module):
    """A 3x3 convolution (zero padding 1) of an image's luma (BT.601), blind to flat areas if `rep`.

    Its kernel is rounded as that of a convolution of the three colours, which is what it becomes.
    """

    def __init__(self, fan_out: int, rep: bool, int8: bool) -> None:
        super().__init__()
        plain = nn.Conv2d(1, fan_out, 3, padding=1)
        self.convolution = RepConv(1, fan_out, 1) if rep else plain
        self.int8 = int8

    def kernel(self) -> Tensor:
        """(out,3,3,3), of red, green and blue."""
        inner = self.convolution
        grey = inner.kernel() if isinstance(inner, RepConv) else inner.weight
        kernel = grey * grey.new_tensor([*LUMA])[:, None, None]
        if not self.int8:
            return kernel
        blind = isinstance(inner, RepConv) and bool(inner.blind)
        return rounded_zero_sum(kernel, len(LUMA)) if blind else rounded(kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.convolution.bias, padding=1)

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """The plain convolution of the same output."""
        layer = Int8Conv if self.int8 else nn.Conv2d
        plain = layer(len(LUMA), self.convolution.out_channels, 3, padding=1)
        plain.load_state_dict({"weight": self.kernel(), "bias": self.convolution.bias})
        return plain

    @torch.no_grad()
    def load_fused(self, plain: nn.Conv2d) -> None:
        """Take over what a plain convolution answers to grey."""
        grey = nn.Conv2d(1, plain.out_channels, 3, padding=1)
        weight = plain.weight.sum(dim=1, keepdim=True)
        grey.load_state_dict({"weight": weight, "bias": plain.bias})
        _take_over(self.convolution, grey)


class Grey(nn.Module):
    """A 3x3 convolution (zero padding 1) whose output serves red, green and blue, times `GAIN`.

    What the same size lacks are a few levels of 255. Steps of Adam are as large whatever they
    change; at GAIN 1 they are larger than the detail, and training ends where nothing is added.
    """

    GAIN = 0.2

    def __init__(self, fan_in: int, fan_out: int, rep: bool, int8: bool = False) -> None:
        super().__init__()
        layer = Int8Conv if int8 else nn.Conv2d
        plain = layer(fan_in, fan_out, 3, padding=1)
        self.convolution = RepConv(fan_in, fan_out, int8=int8) if rep else plain

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x).mul(self.GAIN).repeat(1, 3, 1, 1)

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """The plain convolution of the same output."""
        inner = self.convolution
        grey = inner.fuse() if isinstance(inner, RepConv) else inner
        plain = type(grey)(grey.in_channels, 3 * grey.out_channels, 3, padding=1)
        for name, value in grey.state_dict().items():
            plain.state_dict()[name].copy_(torch.cat([value * self.GAIN] * 3))
        return plain

    @torch.no_grad()
    def load_fused(self, plain: nn.Conv2d) -> None:
        """Take over the output of a plain convolution, of its three colours the mean."""
        inner = self.convolution
        grey = nn.Conv2d(inner.in_channels, inner.out_channels, 3, padding=1)
        for name, value in plain.state_dict().items():
            mean = value.unflatten(0, (3, -1)).mean(dim=0)
            grey.state_dict()[name].copy_(mean / self.GAIN)
        _take_over(inner, grey)


def _take_over(inner: nn.Conv2d, plain: nn.Conv2d) -> None:
    if isinstance(inner, RepConv):
        inner.load_fused(plain)
    else:
        inner.load_state_dict(plain.state_dict())


class StudentDirect(Network):
    """Convolutions on the LR image itself, pixel-shuffle, and the interpolated image as a skip.

    What the convolutions read has 3 channels and, in a file or video, 8 bits: nothing of the large
    image is made before its 8-bit levels are (Shi et al. 2016, see `StudentFast`).

    Args:
        scale: HR pixels per LR pixel, 1 to 4.
        width: channels of the hidden layers; multiples of 16 waste nothing on a CPU.
        depth: number of 3x3 convolutions, at least 2.
        rep: train the convolutions as RepConv; `fuse` is the student without it.
        int8: weights and activations are rounded to 8 bits, in training and ever after, and
            engines multiply integers.
        grey: read luma and add the same detail to red, green and blue: luma alone is restored. At
            scale 2 OpenVINO then takes a video's planes as they are, in less time.
    """

    takes_lr = True
    multiple_of = 1
    upscale_skip = True

    def __init__(
        self,
        scale: int = 2,
        width: int = 16,
        depth: int = 9,
        rep: bool = False,
        int8: bool = False,
        grey: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, width=width)
        at_least(2, depth=depth)
        self.scale = scale
        self.int8 = int8
        self.radius = max(depth, KERNEL_RADIUS)
        channels = [3] + [width] * (depth - 1) + [3 * scale**2]
        activation = Uint8ReLU if int8 else nn.ReLU
        self.body = convolution_stack(channels, activation, rep, zero_sum=True, int8=int8)
        if grey:
            self.body[0] = FromLuma(width, rep, int8)
            self.body[-1] = Grey(width, scale**2, rep, int8)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        return upscale(x, self.scale).clamp(0, 1) + self.shuffle(self.body(x))


class Unshuffle(nn.PixelUnshuffle):
    """Pixel-unshuffle of an image of any size: its last row and column are repeated up to a
    multiple of the factor."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.padded(x))

    def padded(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        step = self.downscale_factor
        pads = (0, -width % step, 0, -height % step)
        if self.training and not any(pads):  # a graph is traced in eval mode, for any size
            return x
        return F.pad(x, pads, mode="replicate")
