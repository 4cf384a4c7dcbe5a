"""kd_lightning.data.soft: enlarged photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.data.soft import SoftPhotos, soft_piece
from kd_lightning.errors import UserError
from kd_lightning.imageio.strict import read_rgb


def test_a_piece_is_a_part_of_the_photograph_enlarged(photo: np.ndarray) -> None:
    piece = soft_piece(photo, 2.0, np.array([0.0, 0.999]))
    corner = Image.fromarray(np.ascontiguousarray(photo[:256, 256:]))
    expected = np.array(corner.resize((512, 512), Image.Resampling.BICUBIC))
    assert np.array_equal(piece, expected)


def test_pieces_are_written_once_and_stay_the_same(photos: Path, tmp_path: Path) -> None:
    source = SoftPhotos(str(photos), ["train_HR"], factors=[1.5, 2.0])
    source.fetch(tmp_path, tmp_path)
    files = sorted((tmp_path / "train_HR").iterdir())
    assert len(files) == 2 * len(list((photos / "train_HR").iterdir()))
    first = [read_rgb(file) for file in files]
    files[0].unlink()
    kept = files[1].stat().st_mtime_ns
    SoftPhotos(str(photos), ["train_HR"], factors=[1.5, 2.0]).fetch(tmp_path, tmp_path)
    assert files[1].stat().st_mtime_ns == kept
    for file, pixels in zip(files, first, strict=True):
        assert np.array_equal(read_rgb(file), pixels)


def test_a_factor_that_does_not_enlarge_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.source.factors=\[1.0\]"):
        SoftPhotos("photos", ["train_HR"], factors=[1.0])
