"""Settings of degradations that are out of range are one line, and orders of names draw nothing."""

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config import targets
from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.blur import Blur
from kd_lightning.data.degradations.call import Call
from kd_lightning.data.degradations.h264 import H264
from kd_lightning.data.degradations.jpeg import Jpeg
from kd_lightning.data.degradations.noise import Noise
from kd_lightning.data.degradations.vpx import Vpx
from kd_lightning.explain import reason
from kd_lightning.values import check_values
from tests.runs import CONF, composed

OPTIONS = sorted(file.stem for file in (CONF / "degradation").glob("*.yaml"))
UNLIMITED = {  # keys that may have any number above their least
    *("scale", "versions", "seed", "frames", "gaussian", "motion", "defocus", "photons")
}


@functools.cache
def shipped(option: str) -> DictConfig:
    return composed(Path("x"), f"degradation={option}", "scale=1")


def part_keys(option: str) -> Iterator[tuple[str, str]]:
    """Every key of a degradation and of its parts: the part's dotted name, and the key."""
    for node, name in targets(shipped(option)):
        if name.split(".")[0] == "degradation":
            yield from (
                (name, key) for key in map(str, node) if key not in ("_target_", "otherwise")
            )  # null is a value of `otherwise`


def wrong(key: str, value: Any) -> list[Any]:
    """What nothing that has a `value` like this can be."""
    if isinstance(value, str):
        return ["other", None]
    if isinstance(value, dict) and any(isinstance(part, dict) for part in value.values()):
        return [None, {}, {"one": None}]
    if isinstance(value, dict) and "_target_" in value:
        return [None]
    if isinstance(value, dict):
        numbers = [dict.fromkeys(value, number) for number in (0, -1, math.nan)]
        return [*numbers, {**value, "other": 1.0}, {}]
    above = [] if key in UNLIMITED else [1_000_000_000]
    if isinstance(value, list):
        low, high = value
        lists = [[], [low], [high, low], [low, high, high], [-1, high], [low, None], ["a", high]]
        return [*lists, [low, math.nan], [low, math.inf], *([low, end] for end in above)]
    return [-1, math.nan, *above]


def said_of(cfg: DictConfig) -> str | None:
    """What a command says of the degradation of `cfg`; None where it takes it."""
    try:
        check_values(cfg)
        instantiate(cfg.degradation)
    except Exception as error:
        return reason(error, "train", []) or f"a traceback: {error!r}"
    return None


@pytest.mark.parametrize(
    ("option", "name", "key"),
    [(option, name, key) for option in OPTIONS for name, key in part_keys(option)],
)
def test_every_setting_that_is_out_of_range_is_one_line_by_its_key(
    option: str, name: str, key: str
) -> None:
    cfg = copy.deepcopy(shipped(option))
    node = OmegaConf.select(cfg, name)
    container: Any = OmegaConf.to_container(node, resolve=True)
    OmegaConf.set_struct(cfg, False)
    for bad in wrong(key, container[key]):
        node[key] = bad
        said = said_of(cfg)
        assert said and said.startswith(f"{name}.{key}"), (bad, said)
        assert "\n" not in said and said[len(f"{name}.{key}")] in ".=:", (bad, said)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["jpeg", "degradation.quality=[95,30]"],
            "degradation.quality=[95, 30]: give two whole numbers from 1 to 100, the lower one",
        ),
        (["jpeg", "degradation.quality=[30.5,95]"], "degradation.quality=[30.5, 95]: give two wh"),
        (["blur", "+degradation.kinds.box=1"], "degradation.kinds.box: there is none; there are"),
        (["vp9", "degradation.speeds=[0,9]"], "degradation.speeds=[0, 9]: give two whole numbers"),
        (
            ["call", "degradation.untouched=0.9", "degradation.stills=0.5"],
            "degradation.untouched=0.9: with soft=0.0 and stills=0.5 it is more than 1; give sha",
        ),
        (["call", "degradation.blur.motion=[1]"], "degradation.blur.motion=[1]: give two numbers"),
        (["call", "degradation.codecs.h264=null"], "degradation.codecs.h264: NoneType has no met"),
    ],
)
def test_a_command_names_the_key_as_the_user_writes_it(overrides: list[str], said: str) -> None:
    option, *others = overrides
    cfg = composed(Path("x"), "data=photos", "data.root=.", f"degradation={option}", *others)
    with pytest.raises(Exception) as error:
        instantiate(cfg.data, teacher=None)
    line = reason(error.value, "train", [])
    assert line is not None and line.startswith(said)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Jpeg(2, quality=(0, 200)), "^quality="),
        (lambda: Jpeg(2, full_chroma=2), "^full_chroma="),
        (lambda: Blur(2, gaussian=(-1.0, 2.0)), "^gaussian="),
        (lambda: Noise(2, photons=(0, 100)), "^photons="),
        (lambda: H264(2, frames=0), "^frames="),
        (lambda: Vpx(2, "vp7"), "^codec=vp7: give one of vp8, vp9"),  # type: ignore[arg-type]
    ],
)
def test_classes_of_python_raise_a_value_error(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_shares_that_sum_to_one_but_for_rounding_are_taken() -> None:
    shares = (0.7, 0.2, 0.1 + 1e-16)
    Call(1, *shares, 0.0, 0.0, Jpeg(1), Blur(1), Noise(1), {"h264": H264(1)})


@pytest.mark.parametrize("kind", ["gaussian", "motion", "defocus"])
@pytest.mark.parametrize("width", [0.0, 1e-200])
def test_a_blur_of_no_width_changes_nothing(kind: str, width: float, photo: np.ndarray) -> None:
    hr = np.ascontiguousarray(photo[60:124, 100:180])
    blur = Blur(1, kinds={kind: 1.0}, **{kind: (width, width)})  # type: ignore[arg-type]
    np.testing.assert_array_equal(blur(hr, version_rng(0, "a", 0)), hr)


@pytest.mark.parametrize(
    ("make", "option", "setting"),
    [
        (lambda kinds: Blur(1, kinds=kinds), "blur", "kinds"),
        (lambda presets: H264(1, presets=presets, frames=2), "h264", "presets"),
    ],
)
def test_the_order_of_names_changes_neither_key_nor_images(
    make: Callable[[dict[str, float]], Any], option: str, setting: str, photo: np.ndarray
) -> None:
    hr = np.ascontiguousarray(photo[60:124, 100:180])
    weights = shipped(option).degradation[setting]
    assert list(getattr(make(weights), setting)) == list(weights)  # stores are of that order
    made = set()
    for order in itertools.permutations(weights.items()):
        degradation = make(dict(order))
        images = [degradation(hr, version_rng(0, "a", version)).tobytes() for version in range(6)]
        made.add((degradation.key, *images))
    assert len(made) == 1
