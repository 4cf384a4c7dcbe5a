"""Which frames of a video are read, how, and which are refused by name."""

import types
from typing import Any

import numpy as np

from kd_lightning.errors import UserError
from kd_lightning.video.frame import UNSPECIFIED, Color, Pixels
from kd_lightning.yuv import Matrix, Yuv, matrix_of_size, pixels_of, read_planes

FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
RGB_MATRIX = 0
MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601"}  # FFmpeg's AVCOL_SPC_*
MATRIX_CODES: dict[Matrix, int] = {"bt709": 1, "bt601": 6}
OTHER_MATRICES = {4: "FCC", 7: "SMPTE 240M", 8: "YCgCo", 9: "BT.2020", 10: "BT.2020"}
SWSCALE_READS = (4, 7, 9, 10)  # those that FFmpeg's `scale` knows; it takes others for BT.601
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
# FFmpeg's filters, of files that say no more than their transfer, too. They need its library zimg.
TONE_MAP = (
    "zscale=pin=2020:min=2020_ncl:t=linear:npl=100:p=709,format=gbrpf32le,tonemap=hable,"
    "zscale=t=709:m=709:r=tv,format=yuv420p"
)
FIELD_ORDERS = (2, 3, 4, 5)  # of interlaced streams, FFmpeg's AVFieldOrder

PLANAR = tuple(f"yuv{full}{kind}p" for full in ("", "j") for kind in ("420", "422", "440", "444"))
REPACKED = {"nv12": "yuv420p", "nv21": "yuv420p", "yuyv422": "yuv422p", "uyvy422": "yuv422p"}
GREY = "gray"
RGB = ("gbrp", "rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr")


def pyav() -> types.ModuleType:
    """The module `av`. Raises UserError where it is not installed."""
    try:
        import av
    except ImportError:
        raise UserError("videos need PyAV: pip install 'kd_lightning[video]'") from None
    module: types.ModuleType = av
    return module


def frame_color(frame: Any) -> Color:
    """How the numbers of an `av.VideoFrame` are to be read: what it says, else the convention of
    its size (BT.601 up to 576 lines), limited range, full range for grey."""
    kind, stated = frame.format.name, int(frame.color_range)
    full = kind.startswith("yuvj") or stated == FULL_RANGE or (kind == GREY and stated == 0)
    matrix = MATRICES.get(int(frame.colorspace), matrix_of_size(frame.height))
    return Color(matrix, full, int(frame.color_primaries), int(frame.color_trc))


def refuse(frame: Any, name: str) -> None:
    """Raises UserError, one line with the remedy, for an `av.VideoFrame` of the file `name` that
    cannot be restored as it is."""
    kind = frame.format.name
    components = frame.format.components
    bits = max(part.bits for part in components)
    remedy = f"convert it first: ffmpeg -i {name}"
    if any(part.is_alpha for part in components):
        raise UserError(f"{name}: {kind} has alpha, which is not kept; {remedy} -pix_fmt yuv420p")
    transfer, matrix = int(frame.color_trc), int(frame.colorspace)
    if transfer in HDR_TRANSFERS:
        raise UserError(
            f"{name}: HDR ({HDR_TRANSFERS[transfer]}) is not restored; "
            f"tone-map it first: ffmpeg -i {name} -vf {TONE_MAP}"
        )
    if bits > 8:
        raise UserError(f"{name}: {bits}-bit frames ({kind}); {remedy} -pix_fmt yuv420p")
    if kind not in (*PLANAR, *REPACKED, *RGB, GREY):
        raise UserError(f"{name}: {kind} frames are not read; {remedy} -pix_fmt yuv420p")
    if kind not in RGB and matrix not in (*MATRICES, UNSPECIFIED, RGB_MATRIX):
        matrix_name = OTHER_MATRICES.get(matrix, f"number {matrix}")
        # Not `colorspace`, which refuses where primaries are not said.
        how = "scale=out_color_matrix=bt709" if matrix in SWSCALE_READS else "zscale=m=709"
        raise UserError(
            f"{name}: colour matrix {matrix_name}; {remedy} -vf {how} -colorspace bt709"
        )
    if frame.interlaced_frame:
        raise UserError(f"{name}: interlaced; {remedy} -vf bwdif")


def image_of(frame: Any) -> Pixels | Yuv:
    """RGB or planes of an `av.VideoFrame` that `refuse` accepts."""
    kind = frame.format.name
    if kind in RGB:
        pixels: Pixels = frame.reformat(format="rgb24").to_ndarray()
        return pixels
    if kind == GREY:
        y = pixels_of(frame.planes[0]).copy()
        half = np.full(((y.shape[0] + 1) // 2, (y.shape[1] + 1) // 2), 128, np.uint8)
        return Yuv(y, half, half)
    return read_planes(frame.reformat(format=REPACKED[kind]) if kind in REPACKED else frame)
