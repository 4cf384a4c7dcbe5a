"""Still photographs as cameras and web sites store them."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, features

from kd_lightning.data.degradations import settings_key
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.data.degradations.settings import share, whole, whole_span
from kd_lightning.imageio.strict import Pixels


class Jpeg:
    """Bicubic shrinking (none at scale 1), then JPEG by Pillow.

    Args:
        scale: HR pixels per LR pixel.
        quality: lowest and highest libjpeg quality, 1 to 100; drawn evenly.
        full_chroma: share of images coded 4:4:4, the others 4:2:0.
        versions: of each training image.
        seed: of the random numbers.
    """

    def __init__(
        self,
        scale: int,
        quality: Sequence[int] = (30, 95),
        full_chroma: float = 0.3,
        versions: int = 8,
        seed: int = 0,
    ) -> None:
        self.scale = whole("scale", scale, 1)
        self.quality = whole_span("quality", quality, 1, 100)
        self.full_chroma = share("full_chroma", full_chroma)
        self.versions, self.seed = whole("versions", versions, 1), whole("seed", seed, 0)

    @property
    def key(self) -> str:
        settings = {
            "quality": self.quality,
            "full_chroma": self.full_chroma,
            "pillow": Image.__version__,
            "libjpeg": [features.version("jpg"), features.check_feature("libjpeg_turbo")],
        }
        return settings_key("jpeg", settings)

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        subsampling = "4:4:4" if rng.random() < self.full_chroma else "4:2:0"
        buffer = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(shrink(hr, self.scale)))
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        with Image.open(buffer) as decoded:
            return np.array(decoded)
