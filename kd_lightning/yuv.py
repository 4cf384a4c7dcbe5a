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
STRIP = 64  # rows at a time, even: what is computed of them stays in the cache
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


def rgb_to_yuv(rgb: Plane, matrix: Matrix, full_range: bool = False, out: Yuv | None = None) -> Yuv:
    """The planes of `rgb`, uint8 (H, W, 3).

    Args:
        out: where to write them, of 4:2:0 or 4:4:4; None for new ones of 4:2:0.
    """
    height, width = rgb.shape[:2]
    weights, offset = from_rgb(matrix, full_range)
    half = (height + 1) // 2, (width + 1) // 2
    planes = out or Yuv(*(np.empty(shape, np.uint8) for shape in ((height, width), half, half)))
    subsampled = planes.u.shape != (height, width) or half == (height, width)
    step = 2 if subsampled else 1
    for top in range(0, height, STRIP):
        strip = rgb[top : top + STRIP]
        red, green, blue = (strip[:, :, channel].astype(np.float32) for channel in range(3))
        y, u, v = (red * w[0] + green * w[1] + blue * w[2] for w in weights.T)
        _round(y, offset, planes.y[top : top + STRIP])
        for chroma, plane in ((u, planes.u), (v, planes.v)):
            chroma = _subsampled(chroma) if subsampled else chroma
            _round(chroma, 128, plane[top // step : (top + STRIP) // step])
    return planes


def yuv_to_rgb(planes: Yuv, matrix: Matrix, full_range: bool = False) -> Plane:
    """The image, uint8 (H, W, 3), of `planes`; chroma of any of their sizes."""
    height, width = planes.y.shape
    weights, offset = from_rgb(matrix, full_range)
    inverse = np.linalg.inv(weights.astype(np.float64)).astype(np.float32)
    around = [np.pad(plane, ((1, 1), (0, 1)), mode="edge") for plane in planes[1:]]
    smaller = planes.u.shape[0] < height, planes.u.shape[1] < width
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP):
        rows = range(top, min(top + STRIP, height))
        y = planes.y[top : rows.stop].astype(np.float32) - np.float32(offset)
        u, v = (_interpolated(plane, rows, width, smaller) for plane in around)
        for channel in range(3):
            value = y * inverse[0, channel]
            for chroma, row in ((u, 1), (v, 2)):
                if abs(weight := inverse[row, channel]) > 1e-6:
                    value += chroma * weight
            _round(value, 0, rgb[top : rows.stop, :, channel])
    return rgb


def read_planes(frame: Any) -> Yuv:
    """Copies of the planes of an `av.VideoFrame`: yuv420p, yuvj420p or others of 8-bit planes."""
    return Yuv(*(pixels_of(plane).copy() for plane in frame.planes))


def write_planes(planes: Yuv, frame: Any) -> None:
    """Write `planes` into an `av.VideoFrame` of their size and kind."""
    for source, place in zip(planes, views(frame), strict=True):
        place[:] = source


def views(frame: Any) -> Yuv:
    """The planes of an `av.VideoFrame` as arrays that write to it."""
    return Yuv(*map(pixels_of, frame.planes))


def pixels_of(plane: Any) -> Plane:
    """A view of the pixels of an `av` plane, whose lines may be padded."""
    lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size]
    return lines.reshape(plane.height, plane.line_size)[:, : plane.width]


def black_and_white(full_range: bool) -> tuple[float, float]:
    """The level of black, and the levels from there to white."""
    return (0.0, 255.0) if full_range else (16.0, 219.0)


def from_rgb(matrix: Matrix, full_range: bool) -> tuple[Floats, float]:
    """(weights, offset): of a row of RGB in [0, 255], `rgb @ weights` is Y - offset, Cb - 128,
    Cr - 128."""
    kr, kb = KR_KB[matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue, red = np.eye(3)[2], np.eye(3)[0]
    black, y = black_and_white(full_range)
    c = 255 if full_range else 224
    columns = (luma * y, (blue - luma) / (2 - 2 * kb) * c, (red - luma) / (2 - 2 * kr) * c)
    weights = np.stack(columns, axis=1) / 255
    return weights.astype(np.float32), black


def _subsampled(plane: Floats) -> Floats:
    """(H, W) to (ceil(H/2), ceil(W/2)): [1 1]/2 along columns, [1 2 1]/4 around even columns."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, height % 2), (1, 1 + width % 2)), mode="edge")
    rows = plane[0::2] + plane[1::2]
    left, centre, right = rows[:, 0:-2:2], rows[:, 1:-1:2], rows[:, 2::2]
    result: Floats = (left + right + 2 * centre) * np.float32(0.125)
    return result


def _interpolated(around: Plane, rows: range, width: int, smaller: tuple[bool, bool]) -> Floats:
    """Chroma - 128 of some rows of the image, linearly, along the axes on which it is smaller.

    Args:
        around: the plane with one more row above and below, and one more column to the right.
        rows: of the image, from an even one on.
    """
    if smaller[0]:
        part = around[rows.start // 2 : (rows.stop + 1) // 2 + 2].astype(np.float32)
        part -= np.float32(128)
        lines = np.empty((2 * len(part) - 4, part.shape[1]), np.float32)
        centre, quarters = np.float32(0.75) * part[1:-1], np.float32(0.25) * part
        np.add(centre, quarters[:-2], out=lines[0::2])
        np.add(centre, quarters[2:], out=lines[1::2])
        lines = lines[: len(rows)]
    else:
        lines = around[rows.start + 1 : rows.stop + 1].astype(np.float32) - np.float32(128)
    if not smaller[1]:
        return lines[:, :width]
    result = np.empty((len(rows), 2 * lines.shape[1] - 2), np.float32)
    result[:, 0::2] = lines[:, :-1]
    np.add(lines[:, :-1], lines[:, 1:], out=result[:, 1::2])
    result[:, 1::2] *= np.float32(0.5)
    return result[:, :width]


def _round(values: Floats, offset: float, out: Plane) -> None:
    """Write `values + offset`, which may be overwritten, to `out` in 8 bits."""
    values += np.float32(offset + 0.5)
    np.clip(values, 0, 255, out=values)
    out[...] = values
