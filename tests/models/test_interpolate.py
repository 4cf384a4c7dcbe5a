"""kd_lightning.models.interpolate against Pillow."""

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from kd_lightning.models.interpolate import downscale, super_resolve, upscale, upscale_crops
from kd_lightning.models.students import StudentCNN

sizes = st.integers(3, 40)


def pillow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def piece(height: int, width: int, seed: int) -> np.ndarray:
    """Some window of a photograph."""
    photo = skimage.data.astronaut()
    top, left = np.random.default_rng(seed).integers(0, 512 - np.array([height, width]))
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def assert_pillows(ours: Tensor, expected: Tensor) -> None:
    """Equal but for rounding: both round to 8 bit between the passes, with fixed-point weights of
    different precision. On noise more levels differ than on photographs."""
    assert (ours.int() - expected.int()).abs().max() <= 2


@settings(max_examples=40, deadline=None)
@given(height=sizes, width=sizes, scale=st.integers(1, 3), seed=st.integers(0, 99))
def test_upscale_of_uint8_equals_pillow(height: int, width: int, scale: int, seed: int) -> None:
    image = piece(height, width, seed)
    expected = tensor(pillow(image, width * scale, height * scale))
    assert_pillows(upscale(tensor(image), scale), expected)


@settings(max_examples=60, deadline=None)
@given(
    height=sizes,
    width=sizes,
    scale=st.integers(1, 4),
    seed=st.integers(0, 99),
    levels=st.sampled_from([2, 16, 256]),
)
def test_downscale_of_uint8_is_within_a_level_of_pillow(
    height: int, width: int, scale: int, seed: int, levels: int
) -> None:
    """On noise, whose overshoot is clamped between the passes; two levels give the most of it."""
    assume(height <= 2 * width)
    noise = np.random.default_rng(seed).integers(0, levels, (height * scale, width * scale, 3))
    image = (noise * (255 // (levels - 1))).astype(np.uint8)
    expected = tensor(pillow(image, width, height)).int()
    assert (downscale(tensor(image), scale).int() - expected).abs().max() <= 1


def test_a_photograph_at_scale_2_equals_pillow(photo: np.ndarray) -> None:
    assert torch.equal(upscale(tensor(photo), 2), tensor(pillow(photo, 1024, 1024)))
    difference = downscale(tensor(photo), 2).int() - tensor(pillow(photo, 256, 256)).int()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 1e-4


def test_float_interpolation_rounds_to_pillow_s_levels(photo: np.ndarray) -> None:
    """Pillow rounds and clamps to 8 bit between its two passes, floats do not."""
    lr = photo[:200, :300]
    expected = tensor(pillow(lr, 600, 400)).float()
    ours = (upscale(tensor(lr).float() / 255, 2).clamp(0, 1) * 255).round()
    assert ((ours - expected).abs() > 1).float().mean() < 0.001


def test_downscale_refuses_sizes_that_the_scale_does_not_divide() -> None:
    with pytest.raises(ValueError, match="7x8 is not a multiple of scale 2"):
        downscale(torch.rand(1, 3, 7, 8), 2)


@pytest.mark.parametrize("process", ["full", "half"])
def test_super_resolve_gives_hr_size_for_networks_of_either_kind(process: str) -> None:
    student = StudentCNN(scale=3, process=process)  # type: ignore[arg-type]
    assert super_resolve(student, torch.rand(1, 3, 9, 14)).shape == (1, 3, 27, 42)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_matrices_interpolate_crops_as_upscale_does(scale: int) -> None:
    crops = torch.stack([tensor(piece(20, 31, seed))[0] for seed in (0, 1)]).float() / 255
    torch.testing.assert_close(
        upscale_crops(crops, scale), upscale(crops, scale), atol=1e-6, rtol=0
    )
