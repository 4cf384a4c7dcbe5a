"""The photographs inside scikit-image."""

from pathlib import Path

import numpy as np
import pytest

from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.data.samples import FOLDERS, SamplePhotos
from kd_lightning.imageio.strict import read_rgb

skimage = pytest.importorskip("skimage.data")


def test_the_photos_are_written_without_any_download(tmp_path: Path) -> None:
    SamplePhotos().fetch(tmp_path, tmp_path)
    written = {
        folder.name: sorted(p.stem for p in folder.iterdir()) for folder in tmp_path.iterdir()
    }
    assert written == {f: sorted(Path(n).stem for n in names) for f, names in FOLDERS.items()}
    astronaut = read_rgb(tmp_path / "test_HR" / "astronaut.png")
    np.testing.assert_array_equal(astronaut, skimage.astronaut())


def test_training_fetches_them_by_itself_and_never_sees_the_test_photos(tmp_path: Path) -> None:
    data = TripletDataModule(
        train=[str(tmp_path / "train_HR")],
        val=[str(tmp_path / "valid_HR")],
        test={"unseen": str(tmp_path / "test_HR")},
        root=str(tmp_path),
        source=SamplePhotos(),
    )
    data.prepare_data()
    data.setup()
    stems = {name: set(data._test[name].stems) for name in data.test_names}
    assert stems == {"unseen": {"astronaut", "rocket"}}
    assert not stems["unseen"] & {s for selection in data._train for s in selection.stems}
