"""SSIM, PSNR and luma: one definition for the loss, the metrics and the benchmark.

Protocol (docs/protocol.md): RGB-SSIM over valid windows of the whole image, PSNR-Y and SSIM-Y on
BT.601 limited-range luma with `crop_border = scale`; per image, then the mean over images.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

WINDOW = 11  # pixels, side of SSIM's Gaussian window
SIGMA = 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # what keeps SSIM's quotients finite, (K * data range)**2
BLOCK = 128  # columns of a banded matrix product


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each image, (B,) float32 (float64 for float64 input).

    11x11 Gaussian window of sigma 1.5, valid windows only, data range 1, K1 0.01, K2 0.03, mean
    over windows and channels (Wang et al. 2004, "Image Quality Assessment: From Error Visibility
    to Structural Similarity", eq. 13). Computed in float32 even under autocast: the variances are
    differences of nearly equal numbers.

    Args:
        x: (B,C,H,W) in [0, 1], H and W at least 11.
        y: of the same shape, likewise.

    Raises:
        ValueError: the images are smaller than the window, or differ in shape.
    """
    if x.shape != y.shape:
        raise ValueError(f"ssim of images of different shapes {tuple(x.shape)}, {tuple(y.shape)}")
    if min(x.shape[-2:]) < WINDOW:
        raise ValueError(f"image of {tuple(x.shape[-2:])} is smaller than SSIM's {WINDOW}x{WINDOW}")
    with torch.autocast(x.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        x, y = x.to(dtype), y.to(dtype)
        mean_x, mean_y, square, product = _blur(torch.stack((x, y, x * x + y * y, x * y)))
        mean_product = mean_x * mean_y
        mean_square = mean_x.square() + mean_y.square()
        luminance = (2 * mean_product + C1) / (mean_square + C1)
        structure = (2 * (product - mean_product) + C2) / (square - mean_square + C2)
        return (luminance * structure).mean(dim=(1, 2, 3))


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, data range 1; (B,), inf where equal."""
    error = (x.double() - y.double()).square().mean(dim=(1, 2, 3))
    return -10 * error.log10()


class Metric(NamedTuple):
    """A score of images, and how tables show it."""

    function: Callable[[Tensor, Tensor, int], Tensor]  # (sr, hr, scale) -> (B,)
    label: str
    digits: int  # behind the point

    @property
    def form(self) -> str:
        """A format string for a value."""
        return f"{{:.{self.digits}f}}"

    def text(self, value: float | None) -> str:
        """The value as a table's cell; empty for None, as JSON has what is infinite."""
        return "" if value is None else self.form.format(value)


def _on_luma(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """`function` of the lumas of two images, `scale` pixels of each border dropped."""

    def score(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
        return function(*(crop_border(luma(image), scale) for image in (sr, hr)))

    return score


# The protocol's scores. A run's own ones come from the configuration (metrics.extra).
METRICS: Mapping[str, Metric] = {
    "ssim_rgb": Metric(lambda sr, hr, scale: ssim(sr, hr), "RGB-SSIM", 4),
    "psnr_y": Metric(_on_luma(psnr), "PSNR-Y (dB)", 2),
    "ssim_y": Metric(_on_luma(ssim), "SSIM-Y", 4),
}


def scores(
    sr: Tensor, hr: Tensor, scale: int, metrics: Mapping[str, Metric] = METRICS
) -> dict[str, Tensor]:
    """Each metric of each image: name -> (B,).

    Args:
        sr: (B,3,H,W), clamped here to [0, 1] and rounded to 8 bit.
        hr: (B,3,H,W) in [0, 1].
        scale: HR pixels per LR pixel, also the border dropped for the luma scores.
    """
    sr, hr = to_8bit(sr.float()), hr.float()
    return {name: metric.function(sr, hr, scale) for name, metric in metrics.items()}


def luma(rgb: Tensor) -> Tensor:
    """BT.601 limited-range Y of (B,3,H,W) in [0, 1], as (B,1,H,W) in [16, 235] / 255."""
    weights = rgb.new_tensor((65.481, 128.553, 24.966)).view(3, 1, 1) / 255
    return (rgb * weights).sum(dim=1, keepdim=True) + 16 / 255


def crop_border(image: Tensor, border: int) -> Tensor:
    """Drop `border` pixels from each side of (B,C,H,W)."""
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def to_8bit(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to the nearest of 256 levels: what a saved image holds."""
    return (image.clamp(0, 1) * 255).round() / 255


def _blur(x: Tensor) -> Tensor:
    """Valid Gaussian filtering of the last two dimensions."""
    return _blur_rows(_blur_rows(x).transpose(-1, -2)).transpose(-1, -2)


def _blur_rows(x: Tensor) -> Tensor:
    """Valid Gaussian filtering of the last dimension: products with banded matrices of at most
    BLOCK columns, which on a CPU is faster than a convolution (docs/protocol.md)."""
    length = x.shape[-1] - WINDOW + 1
    return torch.cat(
        [
            x[..., start : stop + WINDOW - 1] @ ssim_band(stop - start, x.dtype, x.device)
            for start in range(0, length, BLOCK)
            for stop in (min(start + BLOCK, length),)
        ],
        dim=-1,
    )


@functools.lru_cache(maxsize=256)
def ssim_band(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(length+10, length) matrix whose columns hold the shifted, normalised 1-D Gaussian."""
    with torch.inference_mode(False):  # what validation caches, training differentiates through
        offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
        kernel = torch.exp(-(offset**2) / (2 * SIGMA**2))
        kernel = kernel / kernel.sum()
        rows = torch.arange(length)[:, None]
        band = torch.zeros(length, length + WINDOW - 1, dtype=torch.float64)
        band.scatter_(1, rows + torch.arange(WINDOW), kernel.expand(length, -1))
        return band.T.contiguous().to(device, dtype)
