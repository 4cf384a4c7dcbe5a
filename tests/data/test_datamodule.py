"""`TripletDataModule`: what is in its batches, and that they do not depend on who reads them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.data import datasets
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.errors import UserError
from kd_lightning.models.teacher import FolderTeacher
from tests.data.small_data import picture

Make = Callable[..., TripletDataModule]


def batches(data: TripletDataModule) -> list[dict[str, torch.Tensor]]:
    return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]


def assert_same(one: list[dict[str, torch.Tensor]], two: list[dict[str, torch.Tensor]]) -> None:
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name


def test_a_training_batch_holds_float_triplets(make_data: Make) -> None:
    for batch in batches(make_data()):
        shapes = {name: tuple(image.shape) for name, image in batch.items()}
        assert shapes == {
            "lr": (4, 3, 16, 16),
            "bicubic": (4, 3, 32, 32),
            "hr": (4, 3, 32, 32),
            "teacher": (4, 3, 32, 32),
        }
        for image in batch.values():
            assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1


def test_without_a_teacher_there_is_no_teacher_in_a_batch(make_data: Make) -> None:
    assert set(batches(make_data(teacher=None))[0]) == {"lr", "bicubic", "hr"}


def test_images_that_train_and_are_scored_are_named_in_one_line(
    make_data: Make, data_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever they are called."""
    make_data(teacher=None, crop_size=16).setup("fit")
    assert "also trains" not in caplog.text
    for number in (0, 1):
        name = f"{number:04}.png"
        shutil.copy(data_root / "valid_HR" / name, data_root / "train_HR" / f"other_{name}")
    make_data(teacher=None, crop_size=16).setup("fit")
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert line.startswith(f"data.val, data.test.valid: {data_root}/valid_HR/0000.png and 1 more ")


def test_lr_files_of_ones_own_are_said_once_and_in_the_header(
    make_data: Make, data_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert make_data(teacher=None).degradation_words == "bicubic"
    folder = data_root / "train_LR_bicubic" / "X2"
    folder.mkdir(parents=True)
    for file in (data_root / "train_HR").iterdir():
        image = Image.open(file)
        image.resize((image.width // 2, image.height // 2)).save(folder / file.name)
    for _ in range(2):
        assert make_data(teacher=None).degradation_words == f"LR images of {folder}"
    assert caplog.text.count(f"LR images: the files in {folder}") == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_for_any_number_of_workers(make_data: Make, workers: int) -> None:
    assert_same(batches(make_data()), batches(make_data(num_workers=workers)))


def test_images_stay_open_no_further_than_the_file_descriptors_allow(
    make_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = batches(make_data())
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (12, 12))
    assert datasets.open_arrays() == 6
    data = make_data()
    loader = data.train_dataloader()
    before = len(os.listdir("/dev/fd"))
    few = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    assert len(os.listdir("/dev/fd")) <= before + 3 * 2
    assert_same(few, expected)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("changes", [{}, {"scale": 3}, {"scale": 1}, {"teacher": None}])
def test_a_device_cache_gives_the_same_batches(
    make_data: Make, workers: int, changes: dict
) -> None:
    changes = {"teacher": None, **changes} if "scale" in changes else changes
    cached = make_data(device_cache=True, num_workers=workers, **changes)
    assert_same(batches(make_data(**changes)), batches(cached))


def test_batches_differ_with_the_seed(make_data: Make) -> None:
    one, two = batches(make_data())[0]["hr"], batches(make_data(seed=1))[0]["hr"]
    assert not torch.equal(one, two)


def test_the_epoch_length_does_not_depend_on_the_number_of_images(make_data: Make) -> None:
    assert len(make_data(samples_per_epoch=400).train_dataloader()) == 100
    assert len(make_data(samples_per_epoch=400, subset=1).train_dataloader()) == 100


def test_whole_images_come_one_at_a_time_with_their_stem(make_data: Make, data_root: Path) -> None:
    data = make_data()
    seen = [data.on_after_batch_transfer(batch, 0) for batch in data.val_dataloader()]
    assert [batch["stem"] for batch in seen] == [["0000"], ["0001"]]
    hr = np.array(Image.open(data_root / "valid_HR" / "0000.png"))
    lr = Image.fromarray(hr).resize((26, 20), Image.Resampling.BICUBIC)
    expected = {"hr": hr, "lr": np.array(lr)}
    for name, pixels in expected.items():
        got = (seen[0][name][0].permute(1, 2, 0) * 255).round().byte().numpy()
        np.testing.assert_array_equal(got, pixels, err_msg=name)
    assert seen[0]["bicubic"].shape == seen[0]["teacher"].shape == (1, 3, 40, 52)


def test_test_sets_keep_their_names_and_order_and_null_ones_are_left_out(
    make_data: Make, data_root: Path
) -> None:
    folders = {"b": str(data_root / "valid_HR"), "none": None, "a": str(data_root / "train_HR")}
    data = make_data(test=folders)
    assert data.test_names == ["b", "a"]
    assert [len(loader) for loader in data.test_dataloader()] == [2, 5]


def test_a_test_set_without_teacher_outputs_has_no_teacher_rows(
    make_data: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "set5" / "HR"
    folder.mkdir(parents=True)
    Image.fromarray(picture(31, 41, 9)).save(folder / "baby.png")
    (loader,) = make_data(test={"set5": str(folder)}).test_dataloader()
    (batch,) = loader
    assert set(batch) == {"lr", "hr", "stem"}
    assert batch["hr"].shape == (1, 30, 40, 3)  # cropped to even sides


def test_training_needs_the_outputs_of_a_folder_teacher(make_data: Make, data_root: Path) -> None:
    for file in (data_root / "train_teacher").iterdir():
        file.unlink()
    (data_root / "train_teacher").rmdir()
    with pytest.raises(UserError, match="train_teacher: no such folder"):
        make_data()


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_other_scales(make_data: Make, scale: int) -> None:
    data = make_data(scale=scale, crop_size=24, teacher=None)
    batch = batches(data)[0]
    assert batch["lr"].shape[-1] * scale == batch["hr"].shape[-1] == 24
    assert batch["bicubic"].shape == batch["hr"].shape
    if scale == 1:
        assert torch.equal(batch["bicubic"], batch["lr"])
        assert not torch.equal(batch["lr"], batch["hr"])  # there is blur to undo


def test_a_crop_size_that_the_scale_does_not_divide_is_cut(make_data: Make) -> None:
    assert batches(make_data(scale=3, crop_size=32, teacher=None))[0]["hr"].shape[-1] == 30


def test_training_on_images_shrunk_by_two(make_data: Make, data_root: Path) -> None:
    data = make_data(train_downscale=2, crop_size=16, subset=1, augment=False)
    hr = Image.open(data_root / "train_HR" / "0000.png")
    small = np.array(hr.resize((40, 32), Image.Resampling.BICUBIC))
    teacher = Image.open(data_root / "train_teacher" / "0000.png")
    small_teacher = np.array(teacher.resize((40, 32), Image.Resampling.BICUBIC))
    views = np.lib.stride_tricks.sliding_window_view(small, (16, 16), axis=(0, 1))
    teachers = np.lib.stride_tricks.sliding_window_view(small_teacher, (16, 16), axis=(0, 1))
    for batch in batches(data):
        for crop, output in zip(batch["hr"], batch["teacher"], strict=True):
            crop, output = ((image * 255).round().byte().numpy() for image in (crop, output))
            places = np.argwhere((views == crop).all(axis=(2, 3, 4)))
            assert len(places) == 1
            np.testing.assert_array_equal(output, teachers[tuple(places[0])])
    assert next(iter(data.val_dataloader()))["hr"].shape == (1, 40, 52, 3)  # never shrunk


def test_subset_uses_the_first_images_by_name(make_data: Make) -> None:
    assert make_data(subset=2)._train[0].stems == ["0000", "0001"]


def test_split_divides_one_folder(make_data: Make, data_root: Path) -> None:
    data = make_data(val=[], split=0.5, teacher=None)
    validating = [batch["stem"][0] for batch in data.val_dataloader()]
    training = data._train[0].stems
    assert sorted(validating + training) == [f"{n:04}" for n in range(5)]
    assert validating and training


def test_an_epoch_shorter_than_a_batch_is_refused(make_data: Make) -> None:
    with pytest.raises(UserError, match="samples_per_epoch=3"):
        make_data(samples_per_epoch=3).train_dataloader()


def test_the_image_folders_are_never_written_to(make_data: Make, data_root: Path) -> None:
    before = sorted((file, file.stat().st_mtime_ns) for file in data_root.rglob("*"))
    make_data()
    assert sorted((file, file.stat().st_mtime_ns) for file in data_root.rglob("*")) == before


def test_a_missing_folder_is_named_with_the_key_that_sets_it(make_data: Make) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder.*data\.root"):
        make_data(train=["nowhere"])


@pytest.mark.parametrize(("split", "missing"), [(0.5, "train"), (None, "val")])
def test_a_part_without_an_image_is_refused(
    split: float | None, missing: str, tmp_path: Path
) -> None:
    """One image alone goes to the validation; without a split there is none to validate on."""
    (tmp_path / "hr").mkdir()
    Image.fromarray(picture(96, 96, 0)).save(tmp_path / "hr" / "0001.png")
    folder = str(tmp_path / "hr")
    data = TripletDataModule([folder], [], split=split, crop_size=32, cache_dir=str(tmp_path))
    data.prepare_data()
    data.setup()
    help_ = "add images, or give data.val" if missing == "train" else "give data.val"
    with pytest.raises(UserError, match=rf"no image is left for data\.{missing}: .*{help_}"):
        data.train_dataloader() if missing == "train" else data.setup("fit")


@pytest.mark.parametrize("given", [None, "folder", [None], [["folder"]]])
def test_what_is_no_list_of_folders_is_named_by_its_key(given: object) -> None:
    for key in ("train", "val"):
        with pytest.raises(UserError, match=rf"^data\.{key}.*: give "):
            TripletDataModule(**{"train": ["a"], "val": ["b"], key: given})  # type: ignore[arg-type]


def test_a_test_set_of_several_folders_is_named_by_its_key() -> None:
    with pytest.raises(UserError, match=r"^data\.test\.mine=.*: give the path of one folder"):
        TripletDataModule(["a"], ["b"], test={"mine": ["c"]})  # type: ignore[dict-item]


def test_a_split_and_a_validation_folder_exclude_each_other(data_root: Path) -> None:
    folder = str(data_root / "train_HR")
    with pytest.raises(UserError, match=r"data\.split"):
        TripletDataModule([folder], [folder], split=0.1)
    with pytest.raises(UserError, match=r"data\.split"):
        TripletDataModule([folder], [], split=1.5, teacher=FolderTeacher())
