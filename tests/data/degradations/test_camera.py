"""The synthetic camera: the last frame is untouched, the others move evenly towards it."""

import numpy as np
import pytest

from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.camera import FASTEST, film
from tests.data.small_data import picture


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return picture(96, 120, 1)


def test_the_last_frame_of_a_clip_is_the_photograph_itself(photo: np.ndarray) -> None:
    kinds = set()
    for version in range(24):
        clip = film(photo, 4, 2, version_rng(0, "a", version))
        assert len(clip) == 4
        np.testing.assert_array_equal(clip[-1], photo)
        assert {frame.shape for frame in clip} == {photo.shape}
        changed = np.any(clip[0] != photo, axis=2)
        kinds.add("rest" if not changed.any() else "part" if changed.mean() < 0.5 else "camera")
    assert kinds == {"rest", "part", "camera"}


def test_what_comes_into_view_is_mirrored_and_not_black(photo: np.ndarray) -> None:
    bright = np.maximum(photo, 100)
    for version in range(12):
        frame = film(bright, 12, 2, version_rng(0, "b", version))[0]
        assert frame.mean(axis=2).min() > 60  # the warp's kernel undershoots


def place_of(dot: np.ndarray) -> np.ndarray:
    """The centre of gravity (y, x) of a bright dot."""
    grid = np.indices(dot.shape[:2]).reshape(2, -1)
    weight = dot[:, :, 0].astype(float).ravel()
    return np.asarray(grid @ weight / weight.sum())


@pytest.mark.parametrize("scale", [1, 2])
def test_a_clip_moves_evenly_and_no_faster_than_stated(scale: int) -> None:
    y, x = np.indices((100, 120))
    dot = np.exp(-((y - 40) ** 2 + (x - 70) ** 2) / 50)
    photo = np.repeat((255 * dot).astype(np.uint8)[:, :, None], 3, axis=2)
    speeds = []
    for version in range(40):
        clip = film(photo, 3, scale, version_rng(0, "a", version))
        first, second, last = (place_of(frame) for frame in clip)
        masses = [frame.astype(float).sum() for frame in clip]
        if np.ptp(masses) < 0.02 * masses[-1]:  # no oval hides or doubles a part of the dot
            assert np.hypot(*((last - second) - (second - first))) < 0.6
            speeds.append(np.hypot(*(last - second)))
    assert len(speeds) > 20
    assert scale * FASTEST * 0.5 < max(speeds) < scale * FASTEST + 1
    assert min(speeds) == 0
