"""What arrives in a video call: mostly H.264 of all strengths, and frames that need nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_lightning.data.degradations import settings_key
from kd_lightning.data.degradations.codec import filmed
from kd_lightning.data.degradations.resizing import shrink, soften
from kd_lightning.data.degradations.settings import part, share, whole
from kd_lightning.errors import SettingError
from kd_lightning.imageio.strict import Pixels

ROUNDING = 1e-9  # of a sum of shares


class Call:
    """Each version of an image is one of

    - untouched: the bicubic LR image; at scale 1 the image itself, to be left alone;
    - soft, at scale 1 only: shrunk by 2 and enlarged again, or one time in four blurred;
    - a still: a JPEG of the LR image;
    - coded, the rest: the last frame of a filmed clip through one of `codecs`; in some clips the
      lens blurs, in some the sensor adds noise.

    Args:
        scale: HR pixels per LR pixel.
        untouched, soft, stills: shares of the versions, together at most 1; at other scales than
            1, `soft` counts as coded.
        blurred, noisy: shares of the coded clips.
        still: makes the stills, a `Jpeg` of scale 1.
        blur: a `Blur` of scale 1.
        noise: a `Noise` of scale 1.
        codecs: by any name, objects with `coded(frames, rng)`, a `key` and `frames`: `H264`,
            `Vpx`; all as likely.
        versions: of each training image.
        seed: of the random numbers.
    """

    def __init__(
        self,
        scale: int,
        untouched: float,
        soft: float,
        stills: float,
        blurred: float,
        noisy: float,
        still: Any,
        blur: Any,
        noise: Any,
        codecs: Mapping[str, Any],
        versions: int = 8,
        seed: int = 0,
    ) -> None:
        self.scale = whole("scale", scale, 1)
        self.untouched, self.stills = share("untouched", untouched), share("stills", stills)
        soft = share("soft", soft)
        self.soft = soft if scale == 1 else 0.0
        if self.untouched + self.soft + self.stills > 1 + ROUNDING:
            raise SettingError(
                f"untouched={untouched}: with soft={self.soft} and stills={stills} it is more than "
                "1; give shares of which the sum is at most 1"
            )
        self.blurred, self.noisy = share("blurred", blurred), share("noisy", noisy)
        self.still = part("still", still, "__call__")
        self.blur, self.noise = part("blur", blur, "blurred"), part("noise", noise, "noisy")
        if not codecs:
            raise SettingError(f"codecs={codecs}: give at least one, for what is coded")
        self.codecs = [part(f"codecs.{name}", codec, "coded") for name, codec in codecs.items()]
        self.versions, self.seed = whole("versions", versions, 1), whole("seed", seed, 0)

    @property
    def key(self) -> str:
        names = ("untouched", "soft", "stills", "blurred", "noisy")
        settings: dict[str, Any] = {name: getattr(self, name) for name in names}
        settings["parts"] = [part.key for part in (self.still, self.blur, self.noise)]
        settings["codecs"] = [codec.key for codec in self.codecs]
        return settings_key("call", settings)

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        kind = rng.random()
        if kind < self.untouched:
            return shrink(hr, self.scale)
        if kind < self.untouched + self.soft:
            return soften(hr) if rng.random() < 0.75 else self.blur.blurred(hr, rng)
        if kind < self.untouched + self.soft + self.stills:
            return self.still(shrink(hr, self.scale), rng)
        return self._coded(hr, rng)

    def _coded(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        codec = self.codecs[int(rng.integers(len(self.codecs)))]
        if rng.random() < self.blurred:
            hr = self.blur.blurred(hr, rng)
        frames = filmed(hr, self.scale, codec.frames, rng)
        if rng.random() < self.noisy:
            frames = self.noise.noisy(frames, rng)
        return codec.coded(frames, rng)
