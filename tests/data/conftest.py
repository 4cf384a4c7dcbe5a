"""Small image folders for the data tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.models.teacher import FolderTeacher
from tests.data.small_data import picture


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """train_HR (5 images of different sizes), valid_HR (2), and teacher outputs for both."""
    root = tmp_path / "data"
    sizes = {
        "train": [(64, 80), (50, 49), (90, 60), (48, 48), (70, 71)],
        "valid": [(40, 52), (37, 33)],
    }
    for split, shapes in sizes.items():
        for number, (height, width) in enumerate(shapes):
            for kind in ("HR", "teacher"):
                file = root / f"{split}_{kind}" / f"{number:04}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                seed = number + (100 if kind == "teacher" else 0)
                pixels = picture(height - height % 2, width - width % 2, seed)
                Image.fromarray(pixels).save(file)
    return root


@pytest.fixture
def make_data(data_root: Path, tmp_path: Path) -> Callable[..., TripletDataModule]:
    """A data module on `data_root`, prepared and set up, with the given arguments."""

    def make(**changes: object) -> TripletDataModule:
        arguments: dict = {
            "train": [str(data_root / "train_HR")],
            "val": [str(data_root / "valid_HR")],
            "test": {"valid": str(data_root / "valid_HR")},
            "teacher": FolderTeacher(),
            "crop_size": 32,
            "batch_size": 4,
            "samples_per_epoch": 24,
            "num_workers": 0,
            "cache_dir": str(tmp_path / "cache"),
        }
        data = TripletDataModule(**{**arguments, **changes})
        data.prepare_data()
        data.setup()
        return data

    return make
