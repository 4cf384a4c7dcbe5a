"""Student networks: small CNNs that restore an interpolated image.

A student maps (B,3,H,W) in [0, 1] to the same shape, unclamped, for any H and W; the exception is
`StudentCNN(process="half")`, which takes the LR image.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale
from kd_lightning.models.network import Network


class StudentCNN(Network):
    """The specified student: Conv3x3 3-64-64-64-3 with ReLU, 77,379 parameters.

    Args:
        scale: HR pixels per LR pixel, 1 to 4.
        residual: add the input to the output, so that the layers learn only the detail.
        process: "full" runs on the interpolated image; "half" runs on the LR image and
            interpolates the result, at 1/scale**2 of the compute.
    """

    stride = 1

    def __init__(
        self,
        scale: int = 2,
        residual: bool = False,
        process: Literal["full", "half"] = "full",
    ) -> None:
        super().__init__()
        if process not in ("full", "half"):
            raise ValueError(f"process must be full or half, not {process!r}")
        self.scale = scale
        self.residual = residual
        self.takes_lr = process == "half"
        self.radius = 4 + (KERNEL_RADIUS if self.takes_lr else 0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        sr = self.body(x)
        if self.residual:
            sr = sr + x
        return upscale(sr, self.scale) if self.takes_lr else sr


ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "prelu": nn.PReLU}


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
    """

    takes_lr = False

    def __init__(
        self,
        scale: int = 2,
        width: int = 32,
        depth: int = 9,
        stride: int = 2,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}: {activation!r}")
        self.scale = scale
        self.stride = stride
        self.radius = stride * depth + stride - 1
        channels = [3 * stride**2] + [width] * (depth - 1) + [3 * stride**2]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(channels):
            convolution = self.convolution(fan_in, fan_out, first=not layers)
            layers += [convolution, ACTIVATIONS[activation]()]
        self.body = nn.Sequential(*layers[:-1])
        self.arguments = (scale, width, depth, stride, activation)

    def convolution(self, fan_in: int, fan_out: int, first: bool) -> nn.Module:
        return nn.Conv2d(fan_in, fan_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        right, bottom = -width % self.stride, -height % self.stride
        padded = F.pad(x, (0, right, 0, bottom), mode="replicate") if right or bottom else x
        detail = F.pixel_shuffle(self.body(F.pixel_unshuffle(padded, self.stride)), self.stride)
        return x + detail[..., :height, :width]


class StudentRep(StudentFast):
    """A StudentFast whose convolutions train as sums of linear branches (`RepConv`). The first one
    is blind to flat areas: what the network adds there is the same at any brightness.

    Arguments are those of StudentFast; `folded()` is the StudentFast that computes the same, which
    is what a run leaves as its artifact.
    """

    def convolution(self, fan_in: int, fan_out: int, first: bool) -> nn.Module:
        return RepConv(fan_in, fan_out, blind_groups=3 if first else 0)

    @torch.no_grad()
    def absorb(self, plain: StudentFast) -> None:
        """Take over the weights of a StudentFast of the same shape, folded from a StudentRep: same
        output, all branches."""
        for target, source in zip(self.body, plain.body, strict=True):
            if isinstance(target, RepConv) and isinstance(source, nn.Conv2d):
                target.absorb(source)
            else:
                target.load_state_dict(source.state_dict())

    @torch.no_grad()
    def folded(self) -> StudentFast:
        """A StudentFast with the same output, each convolution's branches summed."""
        student = StudentFast(*self.arguments)
        for source, target in zip(self.body, student.body, strict=True):
            layer = source.folded() if isinstance(source, RepConv) else source
            target.load_state_dict(layer.state_dict())
        return student.train(self.training)


class RepConv(nn.Conv2d):
    """A 3x3 convolution (zero padding 1) that trains as a sum of linear branches.

    Branches: 3x3; 1x1; 1x1 then 3x3 at twice the channels; 1x1 then scaled Sobel (both directions)
    and Laplacian filters; identity where the channels allow it. The edge-oriented block of Zhang
    et al. 2021, "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile
    Devices", without its inner biases, so that the sum is one kernel exactly at the borders too.
    The branches are summed in the space of kernels at each step, so that training costs little
    more than a plain convolution (Hu et al. 2022, "Online Convolutional Re-parameterization").

    Args:
        blind_groups: number of groups of input channels over each of which the kernel sums to
            zero; 0: it sums to anything.
    """

    masks: Tensor

    def __init__(self, fan_in: int, fan_out: int, blind_groups: int = 0) -> None:
        super().__init__(fan_in, fan_out, 3, padding=1)
        self.blind_groups = blind_groups
        self.point = nn.Parameter(nn.Conv2d(fan_in, fan_out, 1).weight.flatten(1) / 3)
        self.expand = nn.Parameter(nn.Conv2d(fan_in, 2 * fan_out, 1).weight.flatten(1))
        self.squeeze = nn.Parameter(nn.Conv2d(2 * fan_out, fan_out, 3).weight)
        self.edge = nn.Parameter(nn.Conv2d(fan_in, 3 * fan_out, 1).weight.view(3, fan_out, fan_in))
        self.edge_scale = nn.Parameter(1e-3 * torch.randn(3, fan_out, 1))
        sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
        self.register_buffer("masks", torch.stack([sobel, sobel.T, laplacian]), persistent=False)

    def kernel(self) -> Tensor:
        """The one 3x3 kernel (fan_out, fan_in, 3, 3) that the branches amount to."""
        weight = self.weight + torch.einsum("omhw,mi->oihw", self.squeeze, self.expand)
        weight = weight + torch.einsum("koi,khw->oihw", self.edge_scale * self.edge, self.masks)
        same = self.in_channels == self.out_channels
        point = self.point + torch.eye(self.in_channels).to(self.point) if same else self.point
        weight = weight + F.pad(point[..., None, None], (1, 1, 1, 1))
        if self.blind_groups:
            taps = weight.reshape(len(weight), self.blind_groups, -1)
            weight = (taps - taps.mean(dim=2, keepdim=True)).view_as(weight)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.kernel(), self.bias)

    def folded(self) -> nn.Conv2d:
        """The plain convolution of the same output."""
        plain = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1)
        plain.load_state_dict({"weight": self.kernel(), "bias": self.bias})
        return plain

    def absorb(self, plain: nn.Conv2d) -> None:
        """Take over the output of a plain convolution: the 3x3 branch makes up for the others."""
        weight = self.weight + plain.weight - self.kernel()
        self.load_state_dict({"weight": weight, "bias": plain.bias}, strict=False)
