"""The project's one definition of bicubic interpolation, and of applying a network to an LR image.

Training, validation, test and every deploy backend interpolate with Pillow's bicubic kernel
(Keys 1981, a = -0.5, antialiased). `F.interpolate(mode="bicubic", antialias=True)` computes it;
torch's default bicubic has a = -0.75 and gives other numbers.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.models.network import Network

KERNEL_RADIUS = 2  # Keys' cubic kernel, in pixels of the coarser image


def upscale(lr: Tensor, scale: int) -> Tensor:
    """Interpolate `lr` (B,3,h,w; uint8, or float in [0, 1]) to (B,3,h*scale,w*scale), same dtype.

    A uint8 result is Pillow's up to the rounding of its fixed-point weights (equal on photographs
    at scale 2); a float result is not clamped.
    """
    return _resize(lr, lr.shape[-2] * scale, lr.shape[-1] * scale)


def upscale_crops(lr: Tensor, scale: int) -> Tensor:
    """`upscale` of small float images as two products with matrices, which on a CPU take half its
    time; the same but for the rounding of sums. The matrices are what `upscale` makes of a one."""
    if scale == 1:
        return lr
    height, width = lr.shape[-2:]
    rows, columns = (_matrix(side, scale, lr.dtype, lr.device) for side in (height, width))
    wide = (lr.reshape(-1, width) @ columns.T).view(-1, height, len(columns))
    large = torch.bmm(rows.expand(len(wide), -1, -1), wide)
    return large.view(*lr.shape[:-2], *large.shape[-2:])


@functools.lru_cache(maxsize=64)
def _matrix(side: int, scale: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side * scale, side): how `_resize` makes a longer line of one."""
    with torch.inference_mode(False):  # what validation caches, training reads
        ones = torch.eye(side, dtype=dtype, device=device)[None, None]
        return _resize(ones, side * scale, side)[0, 0]


def downscale(hr: Tensor, scale: int) -> Tensor:
    """Shrink `hr` (B,3,H,W; uint8 or float) to (B,3,H//scale,W//scale), same dtype.

    A uint8 result is within a level of Pillow's. (Where H is more than twice W, Pillow 13 shrinks
    rows before columns, and what it clamps between the two is other than here.)

    Raises:
        ValueError: H or W is not a multiple of `scale`.
    """
    height, width = hr.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is not a multiple of scale {scale}")
    if hr.dtype != torch.uint8:
        return _resize(hr, height // scale, width // scale)
    # torch's own arithmetic on uint8 is several levels off in single pixels. As Pillow does it:
    # columns first, then rows, rounded and clamped to 8 bit after each.
    for size in ((height, width // scale), (height // scale, width // scale)):
        hr = (_resize(hr.float(), *size) + 0.5).floor_().clamp_(0, 255).byte()
    return hr


def super_resolve(network: Network, lr: Tensor) -> Tensor:
    """The network's output at HR size for `lr` (B,3,h,w float in [0, 1]), not clamped.

    Networks that take the interpolated image (`takes_lr` false) get it clamped to [0, 1], which
    is what an 8-bit interpolated image holds.
    """
    if network.takes_lr:
        return network(lr)
    return network(upscale(lr, network.scale).clamp(0, 1))


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if (height, width) == image.shape[-2:]:
        return image
    return F.interpolate(
        image, (height, width), mode="bicubic", antialias=True, align_corners=False
    )
