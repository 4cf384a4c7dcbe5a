"""What a small sensor adds in a dim room."""

from collections.abc import Sequence

import numpy as np

from kd_lightning.data.degradations import settings_key
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.data.degradations.settings import span, whole
from kd_lightning.imageio.strict import Pixels


class Noise:
    """Bicubic shrinking (none at scale 1), then the noise of a sensor: of photons (Poisson) and of
    its electronics (Gaussian), added to linear light (Foi et al. 2008, "Practical
    Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data").

    Args:
        scale: HR pixels per LR pixel.
        photons: fewest and most photons that a white pixel counts, 1 or more; drawn evenly on a
            log scale.
        read: smallest and largest sigma of the electronics as a share of white; drawn evenly.
        versions: of each training image.
        seed: of the random numbers.
    """

    def __init__(
        self,
        scale: int,
        photons: Sequence[float] = (500.0, 10000.0),
        read: Sequence[float] = (0.0, 0.003),
        versions: int = 8,
        seed: int = 0,
    ) -> None:
        self.scale = whole("scale", scale, 1)
        self.photons = span("photons", photons, 1)
        self.read = span("read", read, 0, 1)
        self.versions, self.seed = whole("versions", versions, 1), whole("seed", seed, 0)

    @property
    def key(self) -> str:
        return settings_key("noise", {"photons": self.photons, "read": self.read})

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        return self.noisy([shrink(hr, self.scale)], rng)[0]

    def noisy(self, frames: Sequence[Pixels], rng: np.random.Generator) -> list[Pixels]:
        """`frames` of one camera: one strength, drawn here, and in each frame noise of its own."""
        photons = np.exp(rng.uniform(*np.log(self.photons)))
        read = rng.uniform(*self.read)
        return [self._exposed(frame, photons, read, rng) for frame in frames]

    def _exposed(
        self, frame: Pixels, photons: float, read: float, rng: np.random.Generator
    ) -> Pixels:
        light = TO_LINEAR[frame]
        sigma = np.sqrt(light / np.float32(photons) + np.float32(read**2))
        light += sigma * rng.standard_normal(light.shape, np.float32)
        index = np.clip(light * (len(FROM_LINEAR) - 1) + 0.5, 0, len(FROM_LINEAR) - 1)
        return FROM_LINEAR[index.astype(np.int32)]


def _srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in [0, 1]."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


TO_LINEAR = _srgb_to_linear(np.arange(256) / 255).astype(np.float32)
# In steps of 2^-16: the darkest levels are 20 steps apart.
FROM_LINEAR = np.rint(255 * _linear_to_srgb(np.arange(2**16 + 1) / 2**16)).astype(np.uint8)
