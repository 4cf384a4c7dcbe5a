"""The quality table follows the protocol."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.benchmark import quality
from kd_lightning.deploy.backends import Runner
from kd_lightning.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hr = tmp_path / "some_HR"
    hr.mkdir()
    for seed, size in enumerate(((33, 40), (36, 41))):
        small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(hr / f"{seed}.png")
    return hr


def identity() -> Runner:
    return Runner(lambda x: x, "identity", torch.device("cpu"), 2, False, 0, 1)


def test_bicubic_on_set5_is_the_known_figure(shared: Path) -> None:
    files = quality.pictures(shared / "set5" / "HR")
    runner = identity()
    methods = {"bicubic": quality.bicubic(2), "8 bit": quality.deployed(runner, 2)}
    scores = quality.score_set(files, methods, 2)
    assert len(files) == 5
    assert scores["bicubic"]["psnr_y"] == pytest.approx(33.68, abs=0.01)
    assert scores["bicubic"]["ssim_rgb"] == pytest.approx(0.9091, abs=1e-4)
    assert scores["8 bit"] == pytest.approx(scores["bicubic"], abs=1e-5)


def test_teachers_stored_outputs_close_the_whole_gap(folder: Path) -> None:
    """A teacher that knows the answer half-way: gap shares are 0 for bicubic, 1 for it."""
    outputs = folder.with_name("some_teacher")
    outputs.mkdir()
    for path in quality.pictures(folder):
        lr, hr = quality.read_pair(path, 2)
        large = Image.fromarray(lr).resize(hr.shape[1::-1], Image.Resampling.BICUBIC)
        mixed = (np.asarray(large).astype(int) + hr) // 2
        Image.fromarray(mixed.astype(np.uint8)).save(outputs / path.name)
    assert quality.teacher_folder(folder) == outputs
    methods = {"bicubic": quality.bicubic(2), "teacher": quality.stored(outputs)}
    scores = quality.score_set(quality.pictures(folder), methods, 2)
    assert scores["bicubic"]["gap_closed"] == 0
    assert scores["teacher"]["gap_closed"] == 1
    assert scores["teacher"]["psnr_y"] > scores["bicubic"]["psnr_y"] + 3


def test_a_method_without_all_pictures_has_no_row(folder: Path, tmp_path: Path) -> None:
    methods = {"bicubic": quality.bicubic(2), "teacher": quality.stored(tmp_path)}
    scores = quality.score_set(quality.pictures(folder), methods, 2)
    assert list(scores) == ["bicubic"]
    assert "gap_closed" not in scores["bicubic"]


def test_odd_pictures_are_cropped_to_the_scale(folder: Path) -> None:
    lr, hr = quality.read_pair(folder / "0.png", 2)
    assert (lr.shape, hr.shape) == ((16, 20, 3), (32, 40, 3))


def test_sets_without_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pictures here"):
        quality.pictures(tmp_path)
    Image.fromarray(np.zeros((20, 20, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: test pictures are 8-bit"):
        quality.read_pair(tmp_path / "a.png", 2)


def test_folders_without_the_mark_have_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "HR").mkdir()
    assert quality.teacher_folder(tmp_path / "HR") is None
