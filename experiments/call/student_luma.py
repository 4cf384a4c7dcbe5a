"""A student of luma alone, for the question of luma.py."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning import quality
from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale
from kd_lightning.models.network import Network
from kd_lightning.models.rep import RepConv

LOW, RANGE = 16.0, 219.0  # of luma in limited range, levels of 255


class StudentLuma(Network):
    """StudentDirect of one channel: (B,3,h,w) in [0, 1] to the interpolated image, to whose red,
    green and blue the same detail is added, computed from the LR image's luma alone.

    Args:
        width: channels of the hidden layers.
        depth: number of 3x3 convolutions.
    """

    scale = 2
    takes_lr = True
    multiple_of = 1

    def __init__(self, width: int = 16, depth: int = 9) -> None:
        super().__init__()
        self.radius = max(depth, KERNEL_RADIUS)
        layers: list[nn.Module] = [RepConv(1, width, zero_sum_groups=1)]
        for _ in range(depth - 2):
            layers += [nn.ReLU(), RepConv(width, width)]
        self.body = nn.Sequential(*layers, nn.ReLU(), RepConv(width, self.scale**2))

    def forward(self, x: Tensor) -> Tensor:
        luma = (255 * quality.luma(x) - LOW) / RANGE
        detail = F.pixel_shuffle(self.body(luma), self.scale)
        return upscale(x, self.scale).clamp(0, 1) + detail
