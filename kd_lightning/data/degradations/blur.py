"""What a lens and a moving camera do."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kd_lightning.data.degradations import settings_key
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.data.degradations.settings import span, weights, whole
from kd_lightning.imageio.strict import Pixels

Floats = NDArray[np.float64]
KINDS = {"gaussian": 1.0, "motion": 1.0, "defocus": 1.0}  # in the order that draws depend on


class Blur:
    """A blur of HR pixels, then bicubic shrinking (none at scale 1).

    Args:
        scale: HR pixels per LR pixel.
        kinds: weights of "gaussian", "motion" (along a straight line) and "defocus" (a disc).
        gaussian: smallest and largest sigma in HR pixels; 0 changes nothing.
        motion: shortest and longest path in HR pixels; 0 changes nothing.
        defocus: smallest and largest radius in HR pixels; 0 changes nothing.
        versions: of each training image.
        seed: of the random numbers.
    """

    def __init__(
        self,
        scale: int,
        kinds: Mapping[str, float] | None = None,
        gaussian: Sequence[float] = (0.5, 2.0),
        motion: Sequence[float] = (2.0, 9.0),
        defocus: Sequence[float] = (0.8, 3.0),
        versions: int = 8,
        seed: int = 0,
    ) -> None:
        self.scale = whole("scale", scale, 1)
        self.kinds = weights("kinds", KINDS if kinds is None else kinds, KINDS)
        self.ranges = {
            "gaussian": span("gaussian", gaussian, 0),
            "motion": span("motion", motion, 0),
            "defocus": span("defocus", defocus, 0),
        }
        self.versions, self.seed = whole("versions", versions, 1), whole("seed", seed, 0)

    @property
    def key(self) -> str:
        return settings_key("blur", {"kinds": self.kinds, "ranges": self.ranges})

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        return shrink(self.blurred(hr, rng), self.scale)

    def blurred(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """`image` (H, W, 3) under a blur that is drawn here."""
        weights = np.array(list(self.kinds.values()))
        kind = str(rng.choice(list(self.kinds), p=weights / weights.sum()))
        strength, angle = rng.uniform(*self.ranges[kind]), rng.uniform(0, np.pi)
        kernels = {"gaussian": gaussian_kernel, "defocus": disc_kernel}
        if kind == "motion":
            return convolve(image, line_kernel(strength, angle))
        return convolve(image, kernels[kind](strength))


def gaussian_kernel(sigma: float) -> Floats:
    """Of `sigma` pixels (0 or more), cut at 3 sigma; sums to 1."""
    radius = int(np.ceil(3 * sigma))
    # At sigma 0, all weight lies in the centre.
    variance = max(sigma**2, np.finfo(np.float64).tiny)
    line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * variance))
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> Floats:
    """A disc of `radius` pixels, its edge antialiased; sums to 1."""
    reach = int(np.ceil(radius + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return kernel / kernel.sum()


def line_kernel(length: float, angle: float) -> Floats:
    """A straight line of `length` pixels through the centre at `angle` radians; sums to 1."""
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for step in np.linspace(-length / 2, length / 2, 8 * reach + 1):
        y, x = reach + step * np.sin(angle), reach + step * np.cos(angle)
        top, left = int(np.floor(y)), int(np.floor(x))
        dy, dx = y - top, x - left
        spread = np.outer((1 - dy, dy), (1 - dx, dx))
        kernel[top : top + 2, left : left + 2] += spread
    return kernel / kernel.sum()


def convolve(image: Pixels, kernel: Floats) -> Pixels:
    """`image` (H, W, 3) filtered by `kernel` (odd sides), its border mirrored."""
    reach = kernel.shape[0] // 2
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    size = padded.shape[:2]
    spectrum = np.fft.rfft2(kernel, size)[..., None]
    full = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * spectrum, size, axes=(0, 1))
    valid = full[2 * reach :, 2 * reach :]
    return np.clip(valid + 0.5, 0, 255).astype(np.uint8)
