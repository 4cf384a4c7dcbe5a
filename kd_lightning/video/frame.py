"""What travels through a video: a frame with its time, and how its numbers become colours."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kd_lightning.yuv import Matrix, Yuv, yuv_to_rgb

Pixels = NDArray[np.uint8]
UNSPECIFIED = 2  # FFmpeg's AVCOL_PRI_UNSPECIFIED and AVCOL_TRC_UNSPECIFIED


@dataclass(frozen=True)
class Color:
    """How 8-bit YUV becomes RGB, and which RGB that is.

    Attributes:
        matrix, full_range: as in `kd_lightning.yuv`.
        primaries, transfer: FFmpeg's numbers, which are ITU-T H.273's. They are passed on.
    """

    matrix: Matrix = "bt709"
    full_range: bool = False
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        image: RGB, uint8 (h, w, 3), or the planes as they were decoded.
        pts: when it is shown, in units of `time_base`.
        time_base: seconds.
        duration: how long, in units of `time_base`; 0 where the file does not say.
        color: of `image` where that is planes, and wanted of a file where it is RGB.
    """

    image: Pixels | Yuv
    pts: int
    time_base: Fraction
    duration: int = 0
    color: Color = Color()

    @cached_property
    def pixels(self) -> Pixels:
        """The image as RGB, uint8 (h, w, 3), converted once."""
        if isinstance(self.image, Yuv):
            return yuv_to_rgb(self.image, self.color.matrix, self.color.full_range)
        return self.image

    @property
    def size(self) -> tuple[int, int]:
        """Height, width."""
        plane = self.image.y if isinstance(self.image, Yuv) else self.image
        return plane.shape[0], plane.shape[1]

    @property
    def seconds(self) -> float:
        """When it is shown."""
        return float(self.pts * self.time_base)

    def with_image(self, image: Pixels | Yuv) -> "Frame":
        """Another image at the same time."""
        return replace(self, image=image)
