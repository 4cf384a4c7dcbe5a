"""Degradations of a video codec: the target frame stays where it was, each version stays itself."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.filters import gaussian

from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.camera import film
from kd_lightning.data.degradations.codec import last_frame
from kd_lightning.data.degradations.h264 import H264
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.data.degradations.vpx import Vpx
from kd_lightning.errors import UserError

pytest.importorskip("av")

Vp8, Vp9 = partial(Vpx, codec="vp8"), partial(Vpx, codec="vp9")
CODECS: list[Callable[..., Any]] = [H264, Vp8, Vp9]
NEARLY_LOSSLESS = {
    H264: {"crf": (3, 3), "bitrate_share": 0.0},
    Vp8: {"bits": (8, 8)},
    Vp9: {"bits": (8, 8)},
}


@pytest.fixture(scope="module")
def hr(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[60:260, 100:340])


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - two) ** 2)))


def shift_between(one: np.ndarray, two: np.ndarray) -> float:
    """Pixels that `two` lies beside `one`, a step of Lucas and Kanade's on the smoothed images."""
    smooth = (gaussian(image.mean(axis=2), 2) for image in (one, two))
    first, second = (image[8:-8, 8:-8] for image in smooth)
    slopes = np.stack([slope.ravel() for slope in np.gradient((first + second) / 2)])
    return float(np.hypot(*np.linalg.solve(slopes @ slopes.T, slopes @ (first - second).ravel())))


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("codec", CODECS)
def test_a_nearly_lossless_frame_lies_on_its_image_to_the_pixel(
    codec: Callable[..., Any], scale: int, hr: np.ndarray
) -> None:
    degradation = codec(scale, **NEARLY_LOSSLESS[codec])
    clean = shrink(hr, scale)
    for version in range(3):
        lr = degradation(hr, version_rng(0, "a", version))
        assert lr.shape == clean.shape
        assert lr.dtype == np.uint8
        assert psnr(lr, clean) > 33, version  # 4:2:0 alone costs some
        assert shift_between(lr, clean) <= 0.04


def test_another_pose_than_the_images_own_would_be_found(hr: np.ndarray) -> None:
    quarter = Image.fromarray(hr).transform(
        (240, 200), Image.Transform.AFFINE, (1, 0, 0.25, 0, 1, 0), Image.Resampling.BILINEAR
    )
    assert shift_between(np.array(quarter), hr) == pytest.approx(0.25, abs=0.03)
    options = {"preset": "veryfast", "tune": "zerolatency", "crf": "3"}
    clips = (film(hr, 5, 1, version_rng(0, "a", version)) for version in range(99))
    clip = next(clip for clip in clips if shift_between(clip[-2], hr) > 0.3)
    assert shift_between(last_frame(clip, "libx264", options), hr) <= 0.04
    assert shift_between(last_frame(clip[:-1], "libx264", options), hr) > 0.25


@pytest.mark.parametrize("codec", CODECS)
def test_a_version_is_the_same_in_any_order_and_in_any_thread(
    codec: Callable[..., Any], hr: np.ndarray
) -> None:
    degradation = codec(2)

    def make(version: int) -> bytes:
        return bytes(degradation(hr, version_rng(0, "a", version)).tobytes())

    alone = [make(version) for version in range(4)]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, [3, 2, 1, 0])) == alone[::-1]


@pytest.mark.parametrize(
    ("codec", "key", "gentle", "strong"),
    [(H264, "crf", 18, 38), (Vp8, "bits", 1.0, 0.05), (Vp9, "bits", 1.0, 0.02)],
)
def test_a_stronger_setting_takes_more(
    codec: Callable[..., Any], key: str, gentle: float, strong: float, hr: np.ndarray
) -> None:
    share = {"bitrate_share": 0.0} if codec is H264 else {}

    def mean(value: float) -> float:
        degradation = codec(2, **{key: (value, value)}, **share)
        made = (degradation(hr, version_rng(0, "a", version)) for version in range(4))
        return float(np.mean([psnr(lr, shrink(hr, 2)) for lr in made]))

    assert mean(gentle) > mean(strong) + 1


def test_a_lower_bitrate_takes_more(hr: np.ndarray) -> None:
    def quality(bits: float) -> float:
        degradation = H264(1, bitrate_share=1.0, bits=(bits, bits))
        return psnr(degradation(hr, version_rng(0, "a", 1)), hr)

    assert quality(1.0) > quality(0.1) + 2


def test_odd_sides_are_kept(hr: np.ndarray) -> None:
    frame = hr[:101, :77]
    options = {"preset": "veryfast", "tune": "zerolatency", "crf": "3"}
    decoded = last_frame([frame], "libx264", options)
    assert decoded.shape == frame.shape
    assert psnr(decoded, frame) > 33


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("change", [{"frames": 5}, {"bits": (0.1, 0.2)}])
def test_the_key_changes_with_every_setting(
    codec: Callable[..., Any], change: dict[str, object]
) -> None:
    assert codec(2).key == codec(2).key
    assert codec(2, **change).key != codec(2).key


@pytest.mark.parametrize(
    "change", [{"crf": (20, 30)}, {"bitrate_share": 0.5}, {"presets": {"ultrafast": 1.0}}]
)
def test_the_key_of_h264_changes_with_its_own_settings(change: dict[str, object]) -> None:
    assert H264(2, **change).key != H264(2).key  # type: ignore[arg-type]


def test_the_key_changes_with_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    before = [codec(2).key for codec in CODECS]
    assert len(set(before)) == 3
    monkeypatch.setattr(av, "__version__", "99.0")
    assert not set(before) & {codec(2).key for codec in CODECS}


def test_a_missing_pyav_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"PyAV: pip install 'kd_lightning\[video\]'$"):
        _ = H264(2).key
