"""Pillow's and MATLAB's bicubic resizing of 8-bit images, and the crop that makes sides fit."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd_lightning.imageio.strict import Pixels


def multiple(scale: int) -> int:
    """What an HR image's sides must be multiples of: the scale; 2 for same-size restoration."""
    return scale if scale > 1 else 2


def crop_to_multiple(image: Pixels, factor: int) -> Pixels:
    """`image` (H, W, 3) without the last rows and columns that `factor` does not divide."""
    height, width = image.shape[:2]
    return image[: height - height % factor, : width - width % factor]


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Pillow's bicubic (a = -0.5, antialiased) of a uint8 (H, W, 3) image."""
    if image.shape[:2] == (height, width):
        return image
    pixels = Image.fromarray(np.ascontiguousarray(image))
    return np.array(pixels.resize((width, height), Image.Resampling.BICUBIC))


def shrink(image: Pixels, scale: int) -> Pixels:
    """`image`, whose sides are multiples of `scale`, at 1/`scale` of its size by `resize`."""
    height, width = image.shape[:2]
    return resize(image, height // scale, width // scale)


def soften(image: Pixels) -> Pixels:
    """`image` shrunk by 2 and enlarged again by `resize`: as large, without its finest detail."""
    height, width = image.shape[:2]
    return resize(shrink(image, 2), height, width)


def imresize(image: Pixels, height: int, width: int) -> Pixels:
    """MATLAB's `imresize(image, "bicubic")` of a uint8 (H, W, 3) image.

    The kernel is Pillow's (Keys 1981, a = -0.5, widened for antialiasing); the difference is the
    border, mirrored here and left out by Pillow, and that only the end result is rounded.
    """
    rows = _resize_rows(image.astype(np.float64), height)
    resized = _resize_rows(rows.swapaxes(0, 1), width).swapaxes(0, 1)
    return np.floor(resized + 0.5).clip(0, 255).astype(np.uint8)


def _resize_rows(image: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    old = image.shape[0]
    factor = min(1.0, length / old)  # of the kernel: below 1 it is widened
    centre = (np.arange(length) + 0.5) * (old / length) - 0.5
    taps = int(np.ceil(4 / factor)) + 2
    index = np.floor(centre - 2 / factor).astype(int)[:, None] + np.arange(taps)
    weight = _keys(factor * (centre[:, None] - index))
    weight /= weight.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(old), np.arange(old)[::-1]])[index % (2 * old)]
    result = np.zeros((length, *image.shape[1:]))
    for tap in range(taps):
        result += weight[:, tap, None, None] * image[mirrored[:, tap]]
    return result


def _keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
