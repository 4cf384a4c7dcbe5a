"""Crops: aligned, turned as one, interpolated as the whole image is, drawn from the index alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kd_lightning.data import crops
from kd_lightning.data.crops import (
    Crop,
    CropDraws,
    CropGeometry,
    Images,
    cut,
    finish,
    to_float,
    unpack,
)
from kd_lightning.data.datasets import EpochBatches
from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.strips import Strips
from kd_lightning.models.interpolate import upscale
from tests.data.small_data import picture

OPS = {  # the eight symmetries, in numpy's words
    0: lambda a: a,
    1: lambda a: a[:, ::-1],
    2: lambda a: a[::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a.swapaxes(0, 1),
    5: lambda a: np.rot90(a, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
}


def images(height: int, width: int, scale: int) -> Images:
    hr = picture(height * scale, width * scale, 1)
    teacher = picture(height * scale, width * scale, 2)
    lr = Bicubic(scale)(hr, np.random.default_rng(0))
    return Images(Strips.of(lr), Strips.of(hr), Strips.of(teacher))


def crop_of(image: Images, draw: Crop, geometry: CropGeometry) -> dict[str, torch.Tensor]:
    return finish(unpack(cut(lambda _: image, [draw], geometry), geometry), geometry)


@settings(deadline=None, max_examples=60)
@given(
    scale=st.sampled_from([1, 2, 3, 4]),
    height=st.integers(12, 24),
    width=st.integers(12, 24),
    data=st.data(),
)
def test_an_interpolated_crop_is_the_crop_of_the_interpolated_image(
    scale: int, height: int, width: int, data: st.DataObject
) -> None:
    image = images(height, width, scale)
    geometry = CropGeometry(8 * scale, scale)
    y = data.draw(st.integers(0, height - 8))
    x = data.draw(st.integers(0, width - 8))
    crop = crop_of(image, Crop(0, y, x, 0), geometry)

    whole = upscale(
        to_float(torch.from_numpy(image.lr.whole().transpose(2, 0, 1)[None])), scale
    ).clamp(0, 1)
    rows, columns = slice(y * scale, (y + 8) * scale), slice(x * scale, (x + 8) * scale)
    torch.testing.assert_close(crop["bicubic"], whole[..., rows, columns], atol=2e-6, rtol=0)


@settings(deadline=None, max_examples=40)
@given(scale=st.sampled_from([1, 2, 3]), op=st.integers(0, 7), data=st.data())
def test_a_triplet_is_cut_at_one_place_and_turned_as_one(
    scale: int, op: int, data: st.DataObject
) -> None:
    image = images(14, 77, scale)  # several strips
    geometry = CropGeometry(8 * scale, scale)
    y, x = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 69))
    crop = crop_of(image, Crop(0, y, x, op), geometry)
    assert image.teacher is not None
    for name, array, factor in [
        ("lr", image.lr, 1),
        ("hr", image.hr, scale),
        ("teacher", image.teacher, scale),
    ]:
        part = array.whole()[y * factor : (y + 8) * factor, x * factor : (x + 8) * factor]
        got = (crop[name][0] * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(got, OPS[op](part), err_msg=name)


def test_the_device_s_way_of_turning_and_cropping_is_the_cpu_s() -> None:
    images = torch.from_numpy(np.stack([picture(20, 20, n) for n in range(16)]))
    images = images.permute(0, 3, 1, 2).contiguous()
    op = torch.arange(16) % 8
    corners = torch.arange(32).view(16, 2) % 5
    assert torch.equal(crops._turn_at_once(images, op), crops._turn(images, op))
    at_once = crops._crops_at_once(images, corners, 16)
    assert torch.equal(at_once, crops._crops(images, corners, 16))


def test_the_eight_ops_are_all_different() -> None:
    square = np.arange(9).reshape(3, 3)
    assert len({op(square).tobytes() for op in OPS.values()}) == 8


def test_an_interpolated_image_is_what_pillow_makes_of_it() -> None:
    lr = picture(20, 31, 3)
    ours = upscale(torch.from_numpy(lr).permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).numpy()
    pillow = np.array(Image.fromarray(lr).resize((62, 40), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(ours, pillow)


def test_images_are_drawn_in_proportion_to_their_area_and_every_place_is_reached() -> None:
    geometry = CropGeometry(8, 2)
    draw = CropDraws([(10, 10), (10, 30)], geometry, seed=5, augment=True)
    drawn = [draw(index) for index in range(8000)]
    share = sum(crop.image for crop in drawn) / len(drawn)
    assert share == pytest.approx(0.75, abs=0.02)
    assert {crop.y for crop in drawn} == set(range(7))
    assert {crop.x for crop in drawn if crop.image == 0} == set(range(7))
    assert {crop.x for crop in drawn if crop.image == 1} == set(range(27))
    assert {crop.op for crop in drawn} == set(range(8))


def test_draws_depend_on_the_seed_and_the_index_alone() -> None:
    geometry = CropGeometry(8, 2)
    sizes = [(100, 100), (200, 300)]
    one, same = (CropDraws(sizes, geometry, 1, True) for _ in range(2))
    other = CropDraws(sizes, geometry, 2, True)
    forward = [one(index) for index in range(50)]
    assert forward == [same(index) for index in reversed(range(50))][::-1]
    assert sum(a == b for a, b in zip(forward, map(other, range(50)), strict=True)) == 0


def test_without_augmentation_nothing_is_turned() -> None:
    draw = CropDraws([(100, 100)], CropGeometry(8, 2), 1, augment=False)
    assert {draw(index).op for index in range(100)} == {0}


@given(
    world=st.integers(1, 5), size=st.integers(1, 7), samples=st.integers(35, 90),
    epoch=st.integers(0, 9),
)  # fmt: skip
def test_ranks_share_an_epoch_without_overlap_or_gap(
    world: int, size: int, samples: int, epoch: int
) -> None:
    ranks = [EpochBatches(samples, size, rank=r, world=world, epoch=epoch) for r in range(world)]
    dealt = [list(rank) for rank in ranks]
    assert {len(batches) for batches in dealt} == {samples // (size * world)}
    indices = sorted(i for batches in dealt for batch in batches for i in batch)
    assert indices == list(range(epoch * samples, epoch * samples + len(indices)))
    # One step of all ranks is the same set of samples whatever their number.
    if dealt[0]:
        step = sorted(i for batches in dealt for i in batches[0])
        assert step == indices[: size * world]
