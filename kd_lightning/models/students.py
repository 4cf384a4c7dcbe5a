"""Student networks: small CNNs that restore an interpolated image.

A student maps (B,3,H,W) in [0, 1] to the same shape, unclamped, for any H and W; the exception is
`StudentCNN(process="half")`, which takes the LR image.
"""

from typing import Literal

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
    """

    takes_lr = False

    def __init__(self, scale: int = 2, width: int = 32, depth: int = 8, stride: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.stride = stride
        self.radius = stride * depth + stride - 1
        channels = 3 * stride**2
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for _ in range(depth - 2):
            layers += [nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)]
        layers += [nn.ReLU(inplace=True), nn.Conv2d(width, channels, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        right, bottom = -width % self.stride, -height % self.stride
        padded = F.pad(x, (0, right, 0, bottom), mode="replicate") if right or bottom else x
        detail = F.pixel_shuffle(self.body(F.pixel_unshuffle(padded, self.stride)), self.stride)
        return x + detail[..., :height, :width]
