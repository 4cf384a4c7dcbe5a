"""The field's standard degradation: bicubic shrinking."""

import numpy as np

from kd_lightning.data.degradations.resizing import shrink, soften
from kd_lightning.data.degradations.settings import whole
from kd_lightning.imageio.strict import Pixels


class Bicubic:
    """Pillow's bicubic shrinking. At scale 1 the image is shrunk by 2 and enlarged again, so that
    there is blur to undo."""

    key = "bicubic"
    clean = True

    def __init__(self, scale: int) -> None:
        self.scale = whole("scale", scale, 1)

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        return soften(hr) if self.scale == 1 else shrink(hr, self.scale)
