"""RGB to YUV 4:2:0 and back: the one definition, for codecs, videos and the browser alike.

8-bit RGB and YCbCr as ITU-R BT.601 (Kr 0.299, Kb 0.114) and BT.709 (Kr 0.2126, Kb 0.0722) define
them: "limited" range (Y 16 to 235, Cb and Cr 16 to 240) or "full" range (0 to 255, JPEG's). Chroma
is sited left, the default of MPEG-2, H.264, VP9 and HEVC: in a row on the even columns of luma,
between two rows. Towards 4:2:0 it is filtered by [1 2 1]/4 along rows and by [1 1]/2 along columns;
back to 4:4:4 it is interpolated linearly, which is [1 1]/2 for odd columns and [3 1]/4 along
columns. Borders repeat the outermost sample. All of it in float32, rounded once at the end.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = Literal["bt601", "bt709"]
Plane = NDArray[np.uint8]
Floats = NDArray[np.float32]

KR_KB: dict[Matrix, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
SD_LINES = 576  # streams of more lines are BT.709 by convention, where nothing in them says which


class Yuv(NamedTuple):
    """The planes of an image, uint8: `y` (H, W); `u` (Cb), `v` (Cr) (ceil(H/2), ceil(W/2)) for
    4:2:0, (H, ceil(W/2)) for 4:2:2, (H, W) for 4:4:4."""

    y: Plane
    u: Plane
    v: Plane


def matrix_of_size(height: int) -> Matrix:
    """The matrix by which a video of `height` lines is coded where nothing in it says which."""
    return "bt601" if height <= SD_LINES else "bt709"


def rgb_to_yuv(rgb: Plane, matrix: Matrix, full_range: bool = False) -> Yuv:
    """The 4:2:0 planes of `rgb`, uint8 (H, W, 3)."""
    weights, offset = _from_rgb(matrix, full_range)
    red, green, blue = (rgb[:, :, channel].astype(np.float32) for channel in range(3))
    y, u, v = (red * w[0] + green * w[1] + blue * w[2] for w in weights.T)
    chroma = (_rounded(_subsampled(plane) + np.float32(128)) for plane in (u, v))
    return Yuv(_rounded(y + np.float32(offset)), *chroma)


def yuv_to_rgb(planes: Yuv, matrix: Matrix, full_range: bool = False) -> Plane:
    """The image, uint8 (H, W, 3), of `planes`; chroma of any of their sizes."""
    height, width = planes.y.shape
    weights, offset = _from_rgb(matrix, full_range)
    inverse = np.linalg.inv(weights.astype(np.float64)).astype(np.float32)
    y = planes.y.astype(np.float32) - np.float32(offset)
    u, v = (
        _interpolated(p.astype(np.float32) - np.float32(128), height, width) for p in planes[1:]
    )
    rgb = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        value = y * inverse[0, channel]
        for chroma, row in ((u, 1), (v, 2)):
            if abs(weight := inverse[row, channel]) > 1e-6:
                value += chroma * weight
        rgb[:, :, channel] = _rounded(value)
    return rgb


def read_planes(frame: Any) -> Yuv:
    """Copies of the planes of an `av.VideoFrame`: yuv420p, yuvj420p or others of 8-bit planes."""
    return Yuv(*(_lines(plane).copy() for plane in frame.planes))


def write_planes(planes: Yuv, frame: Any) -> None:
    """Write `planes` into an `av.VideoFrame` of their size and kind."""
    for source, plane in zip(planes, frame.planes, strict=True):
        _lines(plane)[:] = source


def _lines(plane: Any) -> Plane:
    """A view of the pixels of an `av` plane, whose lines may be padded."""
    lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size]
    return lines.reshape(plane.height, plane.line_size)[:, : plane.width]


def _from_rgb(matrix: Matrix, full_range: bool) -> tuple[Floats, float]:
    """(weights, offset): of a row of RGB in [0, 255], `rgb @ weights` is Y - offset, Cb - 128,
    Cr - 128."""
    kr, kb = KR_KB[matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue, red = np.eye(3)[2], np.eye(3)[0]
    y, c = (255, 255) if full_range else (219, 224)
    columns = (luma * y, (blue - luma) / (2 - 2 * kb) * c, (red - luma) / (2 - 2 * kr) * c)
    weights = np.stack(columns, axis=1) / 255
    return weights.astype(np.float32), 0.0 if full_range else 16.0


def _subsampled(plane: Floats) -> Floats:
    """(H, W) to (ceil(H/2), ceil(W/2)): [1 1]/2 along columns, [1 2 1]/4 around even columns."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, height % 2), (1, 1 + width % 2)), mode="edge")
    rows = plane[0::2] + plane[1::2]
    left, centre, right = rows[:, 0:-2:2], rows[:, 1:-1:2], rows[:, 2::2]
    result: Floats = (left + right + 2 * centre) * np.float32(0.125)
    return result


def _interpolated(plane: Floats, height: int, width: int) -> Floats:
    """A plane of chroma to (height, width), linearly along the axes on which it is smaller."""
    if plane.shape[0] < height:
        padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        rows = np.empty((2 * plane.shape[0], plane.shape[1]), np.float32)
        centre = np.float32(0.75) * plane
        np.add(centre, np.float32(0.25) * padded[:-2], out=rows[0::2])
        np.add(centre, np.float32(0.25) * padded[2:], out=rows[1::2])
        plane = rows[:height]
    if plane.shape[1] < width:
        padded = np.pad(plane, ((0, 0), (0, 1)), mode="edge")
        result = np.empty((height, 2 * plane.shape[1]), np.float32)
        result[:, 0::2] = plane
        np.add(plane, padded[:, 1:], out=result[:, 1::2])
        result[:, 1::2] *= np.float32(0.5)
        plane = result[:, :width]
    return plane


def _rounded(plane: Floats) -> Plane:
    return np.clip(plane + np.float32(0.5), 0, 255).astype(np.uint8)
