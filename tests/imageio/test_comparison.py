"""kd_lightning.imageio.comparison."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kd_lightning.imageio import comparison as pictures


def test_detail_is_where_interpolation_loses_most(photo_tensor: Tensor) -> None:
    hr = photo_tensor[0, :, :200, :300]
    bicubic = hr.clone()
    bicubic[:, 120:184, 200:264] += 0.2
    assert pictures.detail_window(hr, bicubic) == (120, 200)


def test_pixels_survive_the_way_to_a_picture(photo: np.ndarray, photo_tensor: Tensor) -> None:
    assert np.array_equal(np.asarray(pictures.to_pil(photo_tensor[0])), photo)


def test_small_images_are_enlarged_by_repetition(photo_tensor: Tensor) -> None:
    lr = photo_tensor[0, :, :5, :7]
    large = pictures.repeat_pixels(lr, 3)
    assert large.shape == (3, 15, 21)
    assert torch.equal(large[:, 1::3, 1::3], lr)


def test_comparison_shows_each_image_under_its_caption(photo_tensor: Tensor) -> None:
    hr = photo_tensor[0, :, :128, :256]
    images = {"dark": torch.zeros_like(hr), "hr": hr}
    picture = pictures.comparison(images, hr, torch.zeros_like(hr))
    side = pictures.DETAIL * pictures.ZOOM
    assert picture.size == (2 * side, pictures.LABEL + side // 2 + side)
    left = np.asarray(picture.crop((0, pictures.LABEL + side // 2, side, picture.height)))
    assert left.max() == 0
    right = picture.crop((side, pictures.LABEL + side // 2, 2 * side, picture.height))
    top, column = pictures.detail_window(hr, torch.zeros_like(hr))
    crop = pictures.to_pil(hr).crop((column, top, column + 64, top + 64))
    assert np.array_equal(np.asarray(right), np.asarray(crop.resize((side, side), Image.NEAREST)))
