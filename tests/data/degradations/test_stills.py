"""JPEG, blur and noise against independent implementations."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.filters import gaussian

from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.blur import (
    Blur,
    convolve,
    disc_kernel,
    gaussian_kernel,
    line_kernel,
)
from kd_lightning.data.degradations.jpeg import Jpeg
from kd_lightning.data.degradations.noise import Noise
from kd_lightning.data.degradations.resizing import shrink


@pytest.fixture(scope="module")
def hr(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[60:188, 100:260])


def test_jpeg_is_pillows_of_the_bicubic_image(hr: np.ndarray) -> None:
    made = Jpeg(2, quality=(50, 50), full_chroma=0.0)(hr, version_rng(0, "a", 0))
    buffer = io.BytesIO()
    Image.fromarray(shrink(hr, 2)).save(buffer, "JPEG", quality=50)
    np.testing.assert_array_equal(made, np.array(Image.open(buffer)))


def test_jpeg_draws_every_quality_of_its_range(hr: np.ndarray) -> None:
    jpeg = Jpeg(1, quality=(30, 32), full_chroma=0.5)
    made = {jpeg(hr, version_rng(0, "a", version)).tobytes() for version in range(60)}
    assert len(made) == 3 * 2


def test_a_gaussian_blur_is_scikit_images(hr: np.ndarray) -> None:
    made = convolve(hr, gaussian_kernel(1.5))
    expected = gaussian(hr / 255, 1.5, mode="reflect", truncate=3.34, channel_axis=2) * 255
    assert np.abs(made - expected).max() < 1


@pytest.mark.parametrize("kernel", [gaussian_kernel(0.7), disc_kernel(2.0), line_kernel(5.0, 0.4)])
def test_a_blur_keeps_brightness_and_place(kernel: np.ndarray, hr: np.ndarray) -> None:
    assert kernel.sum() == pytest.approx(1)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert abs((kernel.sum(axis=0) * offsets).sum()) < 1e-9
    assert abs((kernel.sum(axis=1) * offsets).sum()) < 1e-9
    grey = np.full_like(hr, 77)
    np.testing.assert_array_equal(convolve(grey, kernel), grey)


def test_a_motion_blur_runs_along_its_line() -> None:
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[20, 20] = 255
    blurred = convolve(dot, line_kernel(9.0, 0.0))[:, :, 0]
    assert np.flatnonzero(blurred.max(axis=1)).tolist() == [20]
    assert np.ptp(np.flatnonzero(blurred.max(axis=0))) + 1 in (9, 11)


def test_noise_has_the_variance_of_photons_and_electronics_in_linear_light() -> None:
    noise = Noise(1, photons=(1000, 1000), read=(0.003, 0.003))
    for level in (60, 128, 200):
        grey = np.full((200, 200, 3), level, np.uint8)
        noisy = noise(grey, version_rng(0, "a", 0)) / 255
        light = ((noisy + 0.055) / 1.055) ** 2.4  # sRGB, IEC 61966-2-1
        expected = ((level / 255 + 0.055) / 1.055) ** 2.4
        assert light.mean() == pytest.approx(expected, rel=0.01)
        assert light.var() == pytest.approx(expected / 1000 + 0.003**2, rel=0.05)


def test_each_frame_has_noise_of_its_own(hr: np.ndarray) -> None:
    one, two = Noise(1).noisy([hr, hr], version_rng(0, "a", 0))
    assert (one != two).mean() > 0.3


def test_blur_draws_every_kind(hr: np.ndarray) -> None:
    only = [Blur(1, kinds={kind: 1.0}).key for kind in ("gaussian", "motion", "defocus")]
    assert len({*only, Blur(1).key}) == 4
    made = [Blur(1)(hr, version_rng(0, "a", version)) for version in range(12)]
    assert len({m.tobytes() for m in made}) == 12
