"""Curves and images shrink to what a page can hold."""

import base64
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kd_lightning.quality import psnr
from kd_lightning.runs import thin
from kd_lightning.runs.thin import data_uri, thin_curve

value = st.floats(-1e6, 1e6)


@given(values=st.lists(value, min_size=1, max_size=300), count=st.integers(3, 50))
def test_points_of_a_thin_curve_are_points_of_the_curve(values: list[float], count: int) -> None:
    steps = list(range(9, 9 + 10 * len(values), 10))
    thin_steps, thin_values = thin_curve(steps, values, count)
    assert len(thin_steps) == min(count, len(values))
    assert (thin_steps[0], thin_steps[-1]) == (steps[0], steps[-1])
    assert thin_steps == sorted(set(thin_steps))
    curve = dict(zip(steps, values, strict=True))
    assert [curve[step] for step in thin_steps] == thin_values


def test_a_spike_survives() -> None:
    values = [math.sin(step / 50) for step in range(2000)]
    values[777] = 30.0
    assert 30.0 in thin_curve(range(2000), values, 50)[1]


def test_an_image_is_narrowed_and_still_looks_the_same(tmp_path: Path, photo: np.ndarray) -> None:
    import torch

    wide = np.concatenate([photo] * 5, axis=1)  # as wide as a comparison
    Image.fromarray(wide).save(tmp_path / "a.png")
    kind, _, content = data_uri(tmp_path / "a.png").partition(",")
    assert kind == "data:image/webp;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    assert shown.size == (1280, 256)
    small = Image.fromarray(wide).resize((1280, 256), Image.Resampling.BOX)
    x, y = (torch.from_numpy(np.array(i)).permute(2, 0, 1)[None] / 255 for i in (shown, small))
    assert psnr(x, y) > 30  # dB; lossy coding


def test_an_image_of_too_many_pixels_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(thin, "LARGEST_IMAGE", 1199)
    with pytest.raises(ValueError, match="30x40 pixels are too many"):
        data_uri(tmp_path / "a.png")
