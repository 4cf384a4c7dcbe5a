"""Whole frames in 8 bits: from a small uint8 frame to a large one, in as few passes as possible.

What surrounds a tiny network (interpolation, rounding, conversions, each a pass over the large
float image) takes as long as half the network. Here the interpolation is a convolution that
writes blocks of pixels, the layout that a network with an `unshuffle_factor` works in, and the
large image exists in 8 bits only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models.interpolate import KERNEL_RADIUS, upscale
from kd_lightning.models.network import Network, model_info


class Interpolation(nn.Module):
    """(B,h,w,3) uint8 to (B,3*scale**2,h,w) float32 in [0, 1]: the frame interpolated by
    `upscale`, clamped and pixel-unshuffled, in one convolution.

    Args:
        scale: output pixels per input pixel.
        order: permutation of the output channels; None for that of F.pixel_unshuffle.
    """

    kernel: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, scale: int, order: Tensor | None = None) -> None:
        super().__init__()
        middle = 4 * KERNEL_RADIUS
        impulses = torch.zeros(3, 3, 2 * middle, 2 * middle)
        impulses[range(3), range(3), middle, middle] = 1
        near = slice(middle - KERNEL_RADIUS, middle + KERNEL_RADIUS + 1)
        response = F.pixel_unshuffle(upscale(impulses, scale), scale)[..., near, near]
        kernel = response.flip(-2, -1).transpose(0, 1)
        kernel = kernel if order is None else kernel[order]
        self.register_buffer("kernel", kernel.contiguous() / 255, persistent=False)
        self.register_buffer("rows", kernel.sum(dim=(1, 3))[:, None, :, None], persistent=False)
        self.register_buffer("columns", kernel.sum(dim=(1, 2))[:, None, None], persistent=False)

    def forward(self, frame: Tensor) -> Tensor:
        lr = frame.permute(0, 3, 1, 2).float()
        image = F.conv2d(lr, self.kernel, padding=KERNEL_RADIUS)
        rows, columns = self.at_borders(lr)
        return (image * rows * columns).clamp(0, 1)

    def at_borders(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Factors (1,C,h,1) and (1,C,1,w) for the convolution of `lr` (B,3,h,w) with the kernel:
        taps outside the image are left out and the rest rescaled, as Pillow does."""
        rows = F.conv2d(torch.ones_like(lr[:1, :1, :, :1]), self.rows, padding=(KERNEL_RADIUS, 0))
        columns = F.conv2d(
            torch.ones_like(lr[:1, :1, :1]), self.columns, padding=(0, KERNEL_RADIUS)
        )
        return rows.reciprocal(), columns.reciprocal()


class Blocks(nn.Module):
    """(B,h,w,3) uint8 to (B,3*side**2,h/side,w/side) float32 in [0, 1]: the frame pixel-unshuffled,
    in one convolution; what `Interpolation` is where the size stays. `side` divides h and w.

    Args:
        order: permutation of the output channels; None for that of F.pixel_unshuffle.
    """

    kernel: Tensor

    def __init__(self, side: int = 1, order: Tensor | None = None) -> None:
        super().__init__()
        channels = 3 * side**2
        kernel = torch.eye(channels).view(channels, 3, side, side)
        kernel = kernel if order is None else kernel[order]
        self.register_buffer("kernel", kernel.contiguous() / 255, persistent=False)
        self.side = side

    def forward(self, frame: Tensor) -> Tensor:
        return F.conv2d(frame.permute(0, 3, 1, 2).float(), self.kernel, stride=self.side)


class Uint8Model(nn.Module):
    """A network with what surrounds it: (B,h,w,3) uint8 to (B,h*scale,w*scale,3) uint8.

    Args:
        half: number format of the convolutions (autocast); None for float32. All else is float32.
    """

    def __init__(self, network: Network, half: torch.dtype | None = None) -> None:
        super().__init__()
        self.network = network
        self.half_format = half
        self.on_blocks = model_info(network).unshuffle_factor == network.scale
        self.interpolate = Blocks() if network.scale == 1 else Interpolation(network.scale)

    def forward(self, frame: Tensor) -> Tensor:
        network, scale = self.network, self.network.scale
        autocast = torch.autocast(
            frame.device.type, self.half_format, enabled=self.half_format is not None
        )
        if network.takes_lr:
            lr = frame.permute(0, 3, 1, 2).float() / 255
            with autocast:
                return as_frame(network(lr))
        blocks = self.interpolate(frame)
        if self.on_blocks:
            with autocast:
                return as_frame(blocks + network.body(blocks), scale)  # type: ignore[operator]
        x = F.pixel_shuffle(blocks, scale).contiguous(memory_format=torch.channels_last)
        with autocast:
            return as_frame(network(x))


def as_frame(image: Tensor, scale: int = 1) -> Tensor:
    """(B,3*scale**2,h,w) float to (B,h*scale,w*scale,3) uint8."""
    levels = image.float().mul(255).round().clamp(0, 255).byte()
    return F.pixel_shuffle(levels, scale).permute(0, 2, 3, 1).contiguous()
