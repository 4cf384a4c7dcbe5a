"""RGB and YUV: published constants, FFmpeg's and Pillow's conversions, where chroma lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kd_lightning.yuv import (
    Matrix,
    Yuv,
    matrix_of_size,
    read_planes,
    rgb_to_yuv,
    write_planes,
    yuv_to_rgb,
)

# 100 % colour bars in 8 bits as ITU-R BT.601 and BT.709 give them, limited range: Y, Cb, Cr.
BARS: dict[Matrix, dict[tuple[int, int, int], tuple[int, int, int]]] = {
    "bt601": {
        (255, 255, 255): (235, 128, 128),
        (255, 255, 0): (210, 16, 146),
        (0, 255, 255): (170, 166, 16),
        (0, 255, 0): (145, 54, 34),
        (255, 0, 255): (106, 202, 222),
        (255, 0, 0): (81, 90, 240),
        (0, 0, 255): (41, 240, 110),
        (0, 0, 0): (16, 128, 128),
    },
    "bt709": {
        (255, 255, 255): (235, 128, 128),
        (255, 255, 0): (219, 16, 138),
        (0, 255, 255): (188, 154, 16),
        (0, 255, 0): (173, 42, 26),
        (255, 0, 255): (78, 214, 230),
        (255, 0, 0): (63, 102, 240),
        (0, 0, 255): (32, 240, 118),
        (0, 0, 0): (16, 128, 128),
    },
}
MATRICES: list[Matrix] = ["bt601", "bt709"]


def smooth(height: int, width: int) -> np.ndarray:
    """An image whose chroma changes by less than a level between neighbours."""
    coarse = np.random.default_rng(5).integers(64, 192, (3, 4, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def constant(colour: tuple[int, int, int], height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def difference(one: np.ndarray, two: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - two).max())


@pytest.mark.parametrize("matrix", MATRICES)
def test_colour_bars_have_the_published_codes(matrix: Matrix) -> None:
    for rgb, codes in BARS[matrix].items():
        planes = rgb_to_yuv(constant(rgb), matrix)
        assert [set(plane.ravel().tolist()) for plane in planes] == [{code} for code in codes]
        assert difference(yuv_to_rgb(planes, matrix), constant(rgb)) <= 2


def test_full_range_601_is_pillows_ycbcr() -> None:
    rgb = smooth(64, 80)
    expected = np.array(Image.fromarray(rgb).convert("YCbCr"))
    planes = rgb_to_yuv(rgb, "bt601", full_range=True)
    assert difference(planes.y, expected[:, :, 0]) <= 1
    for plane, channel in ((planes.u, 1), (planes.v, 2)):
        rows = (expected[0::2, :, channel].astype(int) + expected[1::2, :, channel] + 1) // 2
        assert difference(plane, rows[:, 0::2]) <= 1


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_both_ways_are_ffmpegs_on_smooth_images(matrix: Matrix, full_range: bool) -> None:
    av = pytest.importorskip("av")
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    flags = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    space = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709}[matrix]
    reach = ColorRange.JPEG if full_range else ColorRange.MPEG
    common = {
        "src_colorspace": space,
        "dst_colorspace": space,
        "interpolation": flags | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
    }
    rgb = smooth(288, 352)
    planes = rgb_to_yuv(rgb, matrix, full_range)
    theirs = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format="yuv420p", src_color_range=ColorRange.JPEG, dst_color_range=reach, **common
    )
    # FFmpeg's chroma of full range lies half a level below Pillow's, and ours.
    assert max(map(difference, planes, read_planes(theirs))) <= 1 + full_range
    frame = av.VideoFrame(352, 288, "yuv420p")
    write_planes(planes, frame)
    back = frame.reformat(
        format="rgb24", src_color_range=reach, dst_color_range=ColorRange.JPEG, **common
    )
    # FFmpeg's own rounding of chroma, times up to 2, beside ours.
    assert difference(yuv_to_rgb(planes, matrix, full_range), back.to_ndarray()) <= 2


def test_chroma_lies_on_even_columns_and_between_rows() -> None:
    # What is linear in the image stays linear: any other siting would shift it.
    grey = np.full((32, 32), 128, np.uint8)
    ramp = np.arange(90, 90 + 16 * 4, 4)
    for u, expected in (
        (np.tile(ramp, (16, 1)), np.tile(90 + 2.0 * np.arange(32), (32, 1))),
        (np.tile(ramp[:, None], (1, 16)), np.tile(89 + 2.0 * np.arange(32)[:, None], (1, 32))),
    ):
        rgb = yuv_to_rgb(Yuv(grey, u.astype(np.uint8), grey[:16, :16]), "bt601")
        blue = (128 - 16) / 219 * 255 + (expected - 128) / 224 * 255 * 1.772
        inside = np.s_[1:31, 0:31]
        assert np.abs(rgb[:, :, 2][inside] - blue[inside]).max() <= 0.51


def test_chroma_of_a_linear_image_is_its_value_at_the_sample() -> None:
    x, y = np.meshgrid(np.arange(32.0), np.arange(32.0))
    rgb = np.stack([100 + x + y, 100 + 0 * x, 120 + 2 * x - y], axis=2).astype(np.uint8)
    planes = rgb_to_yuv(rgb, "bt709")
    blue = 120 + 2 * x[::2, ::2] - (y[::2, ::2] + 0.5)
    red = 100 + x[::2, ::2] + y[::2, ::2] + 0.5
    luma = 0.2126 * red + 0.7152 * 100 + 0.0722 * blue
    expected = 128 + (blue - luma) / 1.8556 * 224 / 255
    inside = np.s_[:, 1:-1]
    assert np.abs(planes.u[inside] - expected[inside]).max() <= 0.51


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    matrix=st.sampled_from(MATRICES),
    full_range=st.booleans(),
)
def test_a_constant_colour_comes_back_at_any_size(
    height: int, width: int, colour: tuple[int, int, int], matrix: Matrix, full_range: bool
) -> None:
    rgb = constant(colour, height, width)
    planes = rgb_to_yuv(rgb, matrix, full_range)
    assert planes.u.shape == planes.v.shape == ((height + 1) // 2, (width + 1) // 2)
    back = yuv_to_rgb(planes, matrix, full_range)
    assert difference(back, rgb) <= 2
    assert np.ptp(back, axis=(0, 1)).max() == 0


def test_planes_of_padded_lines_are_read_and_written_whole() -> None:
    av = pytest.importorskip("av")
    frame = av.VideoFrame(50, 34, "yuv420p")
    assert frame.planes[0].line_size > 50
    planes = rgb_to_yuv(smooth(34, 50), "bt601")
    write_planes(planes, frame)
    assert max(map(difference, read_planes(frame), planes)) == 0


def test_videos_of_more_than_576_lines_are_bt709() -> None:
    assert [matrix_of_size(lines) for lines in (320, 576, 720, 1080)] == [
        "bt601", "bt601", "bt709", "bt709",
    ]  # fmt: skip
