"""A convolutional network that sees further than a student: a teacher for the frames of a call."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.network import Network, at_least

GRID = 4  # pixels of the input for a cell of the coarser level


class ResidualBlock(nn.Module):
    """x + 3x3(relu(3x3(x))), without normalisation (Lim et al. 2017, EDSR); starts close to x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _shrink(self.second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class UNet(Network):
    """Residual blocks at 1/2 and 1/4 of the size of the interpolated image, global skip: (B,3,H,W)
    in [0, 1] to the same shape, unclamped, for any H and W.

    What a codec leaves of a block of 16x16 pixels cannot be mended from within it: two levels see
    four times as far for a layer (Ronneberger et al. 2015, "U-Net"), for little compute.

    Args:
        scale: HR pixels per LR pixel, 1 to 4.
        width: channels at 1/2 of the size; twice as many at 1/4.
        outer: residual blocks at 1/2 of the size, before and again after the inner ones.
        inner: residual blocks at 1/4 of the size.
    """

    takes_lr = False
    multiple_of = GRID

    def __init__(self, scale: int = 2, width: int = 48, outer: int = 3, inner: int = 4) -> None:
        super().__init__()
        at_least(1, width=width)
        at_least(0, outer=outer, inner=inner)
        self.scale = scale
        self.radius = 2 * (2 + 4 * outer + 2 * (2 * inner) + 2) + 3
        self.unshuffle = nn.PixelUnshuffle(2)
        self.first = nn.Conv2d(12, width, 3, padding=1)
        self.before = nn.Sequential(*(ResidualBlock(width) for _ in range(outer)))
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.inner = nn.Sequential(*(ResidualBlock(2 * width) for _ in range(inner)))
        self.up = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.after = nn.Sequential(*(ResidualBlock(width) for _ in range(outer)))
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        _shrink(self.last)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % GRID, 0, -height % GRID), mode="replicate")
        fine = self.before(self.first(self.unshuffle(padded)))
        fine = fine + self.up(self.inner(self.down(fine)))
        detail = self.shuffle(self.last(self.after(fine)))
        return x + detail[..., :height, :width]


@torch.no_grad()
def _shrink(layer: nn.Conv2d) -> None:
    """Let a branch begin as a small change of what it is added to."""
    layer.weight.mul_(0.1)
    if layer.bias is not None:
        layer.bias.zero_()
