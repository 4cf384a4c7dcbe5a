"""Strips: the same pixels as the image, wherever they are cut, in memory and mapped."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.data.strips import WIDTH, Strips, to_strips


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 20), width=st.integers(1, 3 * WIDTH + 9), data=st.data())
def test_a_crop_of_strips_is_the_crop_of_the_image(
    height: int, width: int, data: st.DataObject
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    strips = Strips.of(image)
    np.testing.assert_array_equal(strips.whole(), image)
    top, bottom = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    left, right = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    np.testing.assert_array_equal(strips[top:bottom, left:right], image[top:bottom, left:right])


def test_a_narrow_image_lies_in_row_order() -> None:
    image = np.arange(5 * WIDTH * 3, dtype=np.uint8).reshape(5, WIDTH, 3)
    assert to_strips(image).tobytes() == image.tobytes()


def test_strips_are_read_from_a_file_behind_its_header(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 2 * WIDTH + 40, 3), np.uint8)
    (tmp_path / "a").write_bytes(b"a header" + to_strips(image).tobytes())
    strips = Strips.map(tmp_path / "a", 8, (90, 2 * WIDTH + 40, 3))
    strips.prefetch((slice(60, 90), slice(100, 2 * WIDTH + 40)))
    np.testing.assert_array_equal(strips.whole(), image)
