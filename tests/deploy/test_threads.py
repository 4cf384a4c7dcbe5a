"""One runner serves several threads, and each gets what it would get alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from kd_lightning import Enhancer
from kd_lightning.deploy.backends import Runner, backends, from_network
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentDirect, StudentFast
from kd_lightning.yuv import Plane, Yuv

CPU = torch.device("cpu")
THREADS = 4
ROUNDS = 6  # in which each thread meets others at its engine: one mixed-up picture is enough
T = TypeVar("T")


def pictures(sizes: Sequence[tuple[int, int]], channels: int) -> list[np.ndarray]:
    """One level each, so that whose pixels came back can be read from them."""
    levels = np.linspace(0, 255, 4 * len(sizes)).astype(np.uint8)
    return [
        np.full((*sizes[number % len(sizes)], channels), level, np.uint8)
        for number, level in enumerate(levels)
    ]


def assert_each_gets_its_own(
    run: Callable[[T], Sequence[np.ndarray]], items: list[T], rounds: int = ROUNDS
) -> None:
    expected = [run(item) for item in items]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(run, items * rounds))
    for ours, theirs in zip(found, expected * rounds, strict=True):
        assert [plane.tobytes() for plane in ours] == [plane.tobytes() for plane in theirs]


@pytest.fixture(scope="module", params=["openvino", "torch", "onnx", "ncnn"])
def enhancer(request: pytest.FixtureRequest, fast_weights: Path) -> Enhancer:
    backend = next(item for item in backends() if item.name == request.param)
    if not backend.installed():
        pytest.skip(f"{backend.name} is not installed")
    return Enhancer(fast_weights, backend=backend.name, device="cpu", precision="fp32")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("sizes", [[(48, 64)], [(48, 64), (32, 40), (17, 23)]])
def test_two_threads_get_their_own_pictures(
    enhancer: Enhancer, sizes: list[tuple[int, int]], channels: int
) -> None:
    """8-bit frames of one size and of several, and grey and alpha, which go through in float."""
    assert_each_gets_its_own(lambda image: [enhancer(image)], pictures(sizes, channels))


def test_two_threads_get_their_own_tensors(enhancer: Enhancer) -> None:
    tensors = [torch.full((1, 3, 20, 30), level) for level in (0.0, 0.25, 0.5, 1.0)]
    assert_each_gets_its_own(lambda image: [enhancer(image).numpy()], tensors)


def test_threads_that_come_first_get_their_own_pictures(fast_weights: Path) -> None:
    """The graph is compiled and compared with torch by the first call, which is here four."""
    pytest.importorskip("openvino")
    images = pictures([(48, 64)], 3)
    made = Enhancer(fast_weights, backend="openvino", device="cpu", precision="fp32")
    expected = [made(image) for image in images]
    fresh = Enhancer(fast_weights, backend="openvino", device="cpu", precision="fp32")
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(fresh, images))
    assert np.array_equal(np.stack(found), np.stack(expected))


@pytest.mark.parametrize("network", [StudentFast, StudentDirect])
def test_two_threads_get_their_own_planes(network: type[StudentFast | StudentDirect]) -> None:
    planes = opened(network(width=8, depth=3)).planes
    assert planes

    def run(frame: Plane) -> Yuv:
        return planes(frame, "bt709", False)

    assert_each_gets_its_own(run, pictures([(48, 64)], 3))
    assert_each_gets_its_own(run, pictures([(24, 32), (12, 16)], 3)[:4], 1)


@pytest.mark.parametrize(
    "network",
    [
        StudentFast(scale=1, width=8, depth=3, grey=True),
        StudentDirect(width=8, depth=3, grey=True),
    ],
    ids=["same size", "enlarged"],
)
def test_two_threads_get_their_own_luma(network: Network) -> None:
    luma = opened(network).luma
    assert luma

    def run(frame: np.ndarray) -> Yuv:
        y, u, v = (np.ascontiguousarray(plane) for plane in np.moveaxis(frame, 2, 0))
        return luma(Yuv(y, u[::2, ::2], v[::2, ::2]), "bt601", False)

    assert_each_gets_its_own(run, pictures([(48, 64)], 3))
    assert_each_gets_its_own(run, pictures([(24, 32), (12, 16)], 3)[:4], 1)


def opened(network: Network) -> Runner:
    pytest.importorskip("openvino")
    return from_network(network.eval(), "openvino", CPU, "fp32")
