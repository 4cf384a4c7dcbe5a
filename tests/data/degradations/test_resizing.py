"""Degradations against independent implementations."""

import numpy as np
import pytest
from PIL import Image

from kd_lightning.data.degradations import Degradation
from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.degradations.matlab import Matlab
from kd_lightning.data.degradations.official import Official
from kd_lightning.data.degradations.resizing import crop_to_multiple
from tests.data.small_data import picture

# basicsr 1.4.2, imresize(pattern / 255, 1 / scale), rounded to 8 bit.
BASICSR_IMRESIZE = {
    2: [
        [72, 115, 143, 131, 141, 111, 113, 178, 125, 130, 131, 171],
        [132, 142, 155, 149, 132, 109, 136, 118, 154, 153, 112, 166],
        [141, 157, 143, 147, 114, 133, 136, 118, 126, 183, 108, 148],
        [133, 115, 102, 123, 110, 146, 131, 110, 149, 165, 107, 144],
        [92, 92, 124, 153, 145, 98, 143, 133, 148, 162, 137, 130],
        [117, 169, 222, 84, 112, 160, 103, 123, 115, 146, 111, 114],
    ],
    4: [
        [116, 135, 132, 136, 134, 151],
        [137, 124, 126, 158, 111, 145],
        [108, 130, 157, 138, 123, 124],
    ],
}


def degraded(hr: np.ndarray, degradation: Degradation) -> np.ndarray:
    return degradation(hr, np.random.default_rng(0))


def pattern() -> np.ndarray:
    y, x, c = np.mgrid[:12, :8, :3]
    return ((37 * y + 91 * x + 50 * c + y * x * 13) % 256).astype(np.uint8)


@pytest.mark.parametrize("scale", [2, 4])
def test_matlab_is_basicsr_imresize(scale: int) -> None:
    lr = degraded(pattern(), Matlab(scale))
    assert lr.reshape(lr.shape[0], -1).tolist() == BASICSR_IMRESIZE[scale]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("auto", [False, True])
def test_bicubic_is_pillow(scale: int, auto: bool) -> None:
    hr = picture(48, 60, 1)
    size = (60 // scale, 48 // scale)
    expected = np.array(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))
    bicubic = Bicubic(scale)
    one = Official(scale, otherwise=bicubic) if auto else bicubic
    np.testing.assert_array_equal(degraded(hr, one), expected)


def test_away_from_the_border_the_two_differ_by_rounding_only() -> None:
    hr = picture(60, 72, 2)
    inner = np.s_[4:-4, 4:-4]
    one, two = (degraded(hr, kind(2))[inner].astype(int) for kind in (Bicubic, Matlab))
    assert np.abs(one - two).max() <= 1


@pytest.mark.parametrize("kind", [Bicubic, Matlab])
def test_scale_one_blurs_and_keeps_the_size(kind: type[Bicubic] | type[Matlab]) -> None:
    hr = picture(40, 50, 3)
    lr = degraded(hr, kind(1))
    assert lr.shape == hr.shape
    assert (
        np.abs(np.diff(lr.astype(int), axis=0)).mean()
        < np.abs(np.diff(hr.astype(int), axis=0)).mean()
    )


def test_cropping_keeps_the_top_left_corner() -> None:
    hr = picture(41, 50, 3)
    np.testing.assert_array_equal(crop_to_multiple(hr, 3), hr[:39, :48])
