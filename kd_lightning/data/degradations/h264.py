"""H.264, the codec of most video calls."""

from collections.abc import Mapping, Sequence

import numpy as np

from kd_lightning.data.degradations.codec import BITS, RATE, codec_key, filmed, last_frame
from kd_lightning.data.degradations.settings import share, span, weights, whole
from kd_lightning.imageio.strict import Pixels

PRESETS = {"veryfast": 0.6, "superfast": 0.25, "ultrafast": 0.15}
ALL_PRESETS = (  # of libx264, in the order that draws depend on
    *("placebo", "veryslow", "slower", "slow", "medium"),
    *("fast", "faster", "veryfast", "superfast", "ultrafast"),
)


class H264:
    """The last frame of a short clip that a synthetic camera takes of the image, shrunk, coded by
    libx264 with `tune zerolatency` (no lookahead, no B frames) and decoded.

    Args:
        scale: HR pixels per LR pixel.
        crf: lowest and highest constant rate factor, 0 to 51; drawn evenly.
        bitrate_share: share of clips that are coded at a bitrate, with a buffer of half a second.
        bits: fewest and most bits per LR pixel and frame of those; drawn evenly on a log scale.
        presets: weights of libx264's presets.
        frames: longest clip; every length from 1 up to it is as likely.
        versions: of each training image.
        seed: of the random numbers.
    """

    def __init__(
        self,
        scale: int,
        crf: Sequence[float] = (18, 40),
        bitrate_share: float = 0.15,
        bits: Sequence[float] = (0.05, 0.5),
        presets: Mapping[str, float] | None = None,
        frames: int = 12,
        versions: int = 8,
        seed: int = 0,
    ) -> None:
        self.scale, self.frames = whole("scale", scale, 1), whole("frames", frames, 1)
        self.crf = span("crf", crf, 0, 51)
        self.bitrate_share = share("bitrate_share", bitrate_share)
        self.bits = span("bits", bits, *BITS)
        self.presets = weights("presets", PRESETS if presets is None else presets, ALL_PRESETS)
        self.versions, self.seed = whole("versions", versions, 1), whole("seed", seed, 0)

    @property
    def key(self) -> str:
        settings = {
            "crf": self.crf,
            "bitrate_share": self.bitrate_share,
            "bits": self.bits,
            "presets": self.presets,
            "frames": self.frames,
        }
        return codec_key("h264", "libx264", settings)

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        return self.coded(filmed(hr, self.scale, self.frames, rng), rng)

    def coded(self, frames: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
        """The last of `frames`, uint8 (h, w, 3), coded at a strength that is drawn here."""
        weights = np.array(list(self.presets.values()))
        preset = str(rng.choice(list(self.presets), p=weights / weights.sum()))
        crf, bits = rng.uniform(*self.crf), np.exp(rng.uniform(*np.log(self.bits)))
        options = {"preset": preset, "tune": "zerolatency", "g": "250"}
        if rng.random() < self.bitrate_share:
            height, width = frames[0].shape[:2]
            rate = int(bits * RATE * height * width)
            options |= {"b": str(rate), "maxrate": str(rate), "bufsize": str(rate // 2)}
        else:
            options["crf"] = f"{crf:.2f}"
        return last_frame(frames, "libx264", options)
