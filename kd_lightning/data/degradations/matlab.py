"""MATLAB's bicubic shrinking, of which the papers' LR images are made."""

import numpy as np

from kd_lightning.data.degradations.resizing import imresize
from kd_lightning.data.degradations.settings import whole
from kd_lightning.imageio.strict import Pixels


class Matlab:
    """What MATLAB's imresize computes, with which the official LR files of DIV2K were made. At
    scale 1 the image is shrunk by 2 and enlarged again."""

    key = "matlab"
    clean = True

    def __init__(self, scale: int) -> None:
        self.scale = whole("scale", scale, 1)

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = hr.shape[:2]
        if self.scale == 1:
            return imresize(imresize(hr, height // 2, width // 2), height, width)
        return imresize(hr, height // self.scale, width // self.scale)
