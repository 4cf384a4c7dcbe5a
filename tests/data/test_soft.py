"""kd_lightning.data.soft: enlarged photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.jpeg import Jpeg
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


def test_an_interrupted_set_is_completed_and_no_other_settings_use_its_folder(
    photos: Path, tmp_path: Path
) -> None:
    def source(**changed: object) -> SoftPhotos:
        return SoftPhotos(**{"photos": str(photos), "folders": ["train_HR"], **changed})

    source().fetch(tmp_path, tmp_path)
    files = sorted((tmp_path / "train_HR").iterdir())
    for file in files[1:]:
        file.unlink()  # as a kill leaves it
    source().fetch(tmp_path, tmp_path)
    assert sorted((tmp_path / "train_HR").iterdir()) == files
    (elsewhere := tmp_path / "other" / "train_HR").mkdir(parents=True)
    Image.new("RGB", (96, 96)).save(elsewhere / f"{files[0].stem.split('-')[1]}.png")
    for changed, key in (
        ({"factors": [1.5]}, "factors"),
        ({"seed": 1}, "seed"),
        ({"recorded": [1.0], "recorder": Jpeg(1)}, "recorded"),
        ({"photos": str(elsewhere.parent)}, "photos"),
    ):
        with pytest.raises(UserError, match=f"made with another {key} .*data.root"):
            source(**changed).fetch(tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"holds images that data.source has not made"):
        source().fetch(elsewhere.parent, tmp_path)


def test_every_folder_counts_and_no_photograph_replaces_another(
    photos: Path, tmp_path: Path
) -> None:
    more = tmp_path / photos.name / "more_HR"
    more.mkdir(parents=True)
    Image.new("RGB", (96, 96)).save(more / "other.png")
    (more.parent / "train_HR").symlink_to(photos / "train_HR")
    both = SoftPhotos(str(more.parent), ["train_HR", "more_HR"])
    both.fetch(tmp_path / "root", tmp_path)
    with pytest.raises(UserError, match="made with another photos"):
        SoftPhotos(str(more.parent), ["more_HR"]).fetch(tmp_path / "root", tmp_path)
    stem = next((photos / "train_HR").iterdir()).name
    Image.new("RGB", (96, 96)).save(more / stem)
    with pytest.raises(UserError, match=r"more_HR.*has a photograph .*rename one"):
        both.fetch(tmp_path / "another", tmp_path)


def test_recorded_pieces_lie_beside_the_others_behind_the_recorder(
    photos: Path, tmp_path: Path
) -> None:
    recorder = Jpeg(1, quality=[70, 90])
    source = SoftPhotos(str(photos), ["train_HR"], [1.5], recorded=[1.0], recorder=recorder)
    source.fetch(tmp_path / "some", tmp_path)
    plain = SoftPhotos(str(photos), ["train_HR"], factors=[1.5, 2.0])
    plain.fetch(tmp_path / "plain", tmp_path)
    files = sorted((tmp_path / "some" / "train_HR").iterdir())
    stems = sorted(p.stem for p in (photos / "train_HR").iterdir())
    kinds = (f"1.0-{recorder.key}", "1.5")
    expected = [f"{photos.name}-{stem}-{kind}" for stem in stems for kind in kinds]
    assert [file.stem for file in files] == expected
    rng = np.random.default_rng(0)
    for stem, recorded, soft in zip(stems, files[::2], files[1::2], strict=True):
        same = tmp_path / "plain" / "train_HR" / soft.name
        assert np.array_equal(read_rgb(soft), read_rgb(same))
        piece = soft_piece(
            read_rgb(photos / "train_HR" / f"{stem}.png"), 1.0, rng.random((2, 2))[1]
        )
        seen = recorder(piece, version_rng(0, recorded.stem, 0))
        assert np.array_equal(read_rgb(recorded), seen)
        assert not np.array_equal(seen, piece)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recorded": [0.9], "recorder": Jpeg(1)}, r"data.source.recorded=\[0.9\]"),
        ({"recorded": [1.0]}, "data.source.recorder has no value"),
        ({"factors": []}, r"data.source.factors=\[\]"),
    ],
)
def test_settings_that_make_no_recorded_piece_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        SoftPhotos("photos", ["train_HR"], **settings)


def test_a_factor_that_does_not_enlarge_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.source.factors=\[1.0\]"):
        SoftPhotos("photos", ["train_HR"], factors=[1.0])
