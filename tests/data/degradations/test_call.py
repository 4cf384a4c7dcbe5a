"""The mixture of a call, as it is configured."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate

from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.call import Call
from kd_lightning.data.degradations.resizing import shrink, soften
from kd_lightning.imageio.strict import Pixels
from tests.runs import composed

pytest.importorskip("av")


@pytest.fixture(scope="module")
def hr(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[60:124, 100:196])


def configured(scale: int, *overrides: str) -> Call:
    node = composed(Path("x"), "degradation=call", f"scale={scale}", *overrides)
    call = instantiate(node.degradation)
    assert isinstance(call, Call)
    return call


class Marking:
    """Stands in for a codec or a JPEG: says that it was asked."""

    key, frames = "marking", 3

    def coded(self, frames: list[Pixels], rng: np.random.Generator) -> Pixels:
        return np.zeros_like(frames[-1])

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        return np.full_like(hr, 255)


@pytest.mark.parametrize("scale", [1, 2])
def test_each_kind_of_frame_has_its_stated_share(scale: int, hr: np.ndarray) -> None:
    call = configured(scale)
    marking: Any = Marking()
    call.codecs, call.still = [marking], marking
    kinds: Counter[str] = Counter()
    versions = 400
    for version in range(versions):
        lr = call(hr, version_rng(0, "a", version))
        if np.array_equal(lr, shrink(hr, scale)):
            kinds["untouched"] += 1
        else:
            kinds[{0: "coded", 255: "still"}.get(int(lr[0, 0, 0]), "soft")] += 1
    soft = call.soft if scale == 1 else 0.0
    assert (call.soft > 0) == (scale == 1)
    expected = {"untouched": call.untouched, "still": call.stills, "soft": soft}
    for kind, share in {**expected, "coded": 1 - sum(expected.values())}.items():
        assert kinds[kind] / versions == pytest.approx(share, abs=0.05), kind


def test_most_frames_are_coded_by_h264_and_two_codecs_stay_unseen() -> None:
    assert list(composed(Path("x"), "degradation=call").degradation.codecs) == ["h264"]
    call = configured(1)
    assert call.untouched + call.soft + call.stills < 0.4
    more = configured(2, "+degradation@degradation.codecs.vp8=vp8")
    assert len(more.codecs) == 2
    assert more.key != configured(2).key


def test_at_scale_one_an_untouched_frame_is_the_image_and_a_soft_one_is_interpolated(
    hr: np.ndarray,
) -> None:
    alone = ("degradation.soft=0.0", "degradation.stills=0.0")
    sharp = configured(1, "degradation.untouched=1.0", *alone)
    np.testing.assert_array_equal(sharp(hr, version_rng(0, "a", 0)), hr)
    alone = ("degradation.untouched=0.0", "degradation.stills=0.0")
    call = configured(1, "degradation.soft=1.0", *alone)
    made = [call(hr, version_rng(0, "a", version)) for version in range(24)]
    assert 12 <= sum(np.array_equal(lr, soften(hr)) for lr in made) < 24


@pytest.mark.parametrize(
    "change",
    [
        "untouched=0.2",
        "stills=0.2",
        "blurred=0.2",
        "noisy=0.2",
        "still.quality=[50,60]",
        "blur.gaussian=[1,2]",
        "noise.read=[0,0.1]",
        "codecs.h264.crf=[20,30]",
    ],
)
def test_the_key_changes_with_every_part(change: str) -> None:
    assert configured(2, f"degradation.{change}").key != configured(2).key


def test_a_version_is_a_function_of_seed_stem_and_number(hr: np.ndarray) -> None:
    call = configured(2)

    def make(*place: Any) -> bytes:
        return bytes(call(hr, version_rng(*place)).tobytes())

    places = [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0), (0, "a/b", 0), (0, "a", 10)]
    forward = [make(*place) for place in places]
    assert [make(*place) for place in places[::-1]] == forward[::-1]
    assert len({version_rng(*place).integers(2**62) for place in places}) == len(places)
