"""VP8 and VP9, as browsers code calls with them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kd_lightning.data.degradations.codec import BITS, RATE, codec_key, filmed, last_frame
from kd_lightning.data.degradations.settings import span, whole, whole_span
from kd_lightning.errors import SettingError
from kd_lightning.imageio.strict import Pixels

ENCODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Libvpx's own: for VP8 a positive speed would follow the clock, and not be the same twice.
SPEED_SIGN = {"vp8": -1, "vp9": 1}
FASTEST = {"vp8": 16, "vp9": 8}
EXTRA: dict[str, dict[str, str]] = {"vp8": {}, "vp9": {"aq-mode": "3"}}


class Vpx:
    """The last frame of a short clip that a synthetic camera takes of the image, shrunk, coded by
    libvpx with its settings for real time and decoded.

    Args:
        scale: HR pixels per LR pixel.
        codec: "vp8" or "vp9".
        bits: fewest and most bits per LR pixel and frame; drawn evenly on a log scale.
        speeds: lowest and highest speed (libvpx's cpu-used without its sign), 0 to 16 for VP8 and 0
            to 8 for VP9; drawn evenly.
        frames: longest clip; every length from 1 up to it is as likely.
        versions: of each training image.
        seed: of the random numbers.
    """

    def __init__(
        self,
        scale: int,
        codec: Literal["vp8", "vp9"],
        bits: Sequence[float] = (0.05, 0.5),
        speeds: Sequence[int] = (6, 8),
        frames: int = 12,
        versions: int = 8,
        seed: int = 0,
    ) -> None:
        if codec not in ENCODERS:
            raise SettingError(f"codec={codec}: give one of {', '.join(ENCODERS)}")
        self.codec = codec
        self.scale, self.frames = whole("scale", scale, 1), whole("frames", frames, 1)
        self.bits = span("bits", bits, *BITS)
        self.speeds = whole_span("speeds", speeds, 0, FASTEST[codec])
        self.versions, self.seed = whole("versions", versions, 1), whole("seed", seed, 0)

    @property
    def key(self) -> str:
        settings = {"bits": self.bits, "speeds": self.speeds, "frames": self.frames}
        return codec_key(self.codec, ENCODERS[self.codec], settings)

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        return self.coded(filmed(hr, self.scale, self.frames, rng), rng)

    def coded(self, frames: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
        """The last of `frames`, uint8 (h, w, 3), coded at a strength that is drawn here."""
        bits = np.exp(rng.uniform(*np.log(self.bits)))
        speed = int(rng.integers(self.speeds[0], self.speeds[1] + 1))
        height, width = frames[0].shape[:2]
        rate = str(int(bits * RATE * height * width))
        options = {
            "deadline": "realtime",
            "cpu-used": str(SPEED_SIGN[self.codec] * speed),
            "error-resilient": "1",
            "lag-in-frames": "0",
            "b": rate,
            "minrate": rate,
            "maxrate": rate,
            "g": "3000",
        }
        return last_frame(frames, ENCODERS[self.codec], options | EXTRA[self.codec])
