"""The fast path from an 8-bit frame to an 8-bit frame gives what the reference path gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kd_lightning.deploy.backends import Runner, cpu_has_bf16, from_network
from kd_lightning.deploy.enhance import enhance
from kd_lightning.deploy.uint8 import Blocks, Interpolation
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast

NETWORKS = {
    "full": StudentCNN(residual=True),
    "half": StudentCNN(process="half", residual=True),
    "blocks of the scale": StudentFast(width=8, depth=3),
    "other blocks": StudentFast(width=8, depth=3, stride=4),
    "blocks of 3": StudentFast(scale=3, width=8, depth=3, stride=3),
    "narrow": StudentFast(width=4, depth=4),
    "direct": StudentDirect(width=8, depth=3),
    "rep": StudentFast(width=8, depth=3, rep=True),
    "same size": StudentFast(scale=1, width=8, depth=3),
    "same size, grey": StudentFast(scale=1, width=8, depth=3, grey=True),
    "same size, no blocks": StudentCNN(scale=1, residual=True),
}
WAYS = [
    ("ncnn", "fp32"),
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def levels_apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 4]))
def test_interpolation_is_the_projects(height: int, width: int, scale: int) -> None:
    frame = torch.from_numpy(noise(height, width))[None]
    image = upscale(frame.permute(0, 3, 1, 2).float() / 255, scale).clamp(0, 1)
    blocks = Interpolation(scale)(frame)
    assert (F.pixel_shuffle(blocks, scale) - image).abs().max() <= 1e-5


@pytest.mark.parametrize("side", [1, 2, 3])
def test_blocks_of_a_frame_are_its_pixels(side: int) -> None:
    frame = torch.from_numpy(noise(4 * side, 5 * side))[None]
    pixels = F.pixel_shuffle(Blocks(side)(frame), side)
    assert (pixels - frame.permute(0, 3, 1, 2).float() / 255).abs().max() <= 1e-7


def opened(network: Network, backend: str, precision: str) -> Runner:
    pytest.importorskip(backend)
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("a CPU without bf16")
    return from_network(network.eval(), backend, torch.device("cpu"), precision)


@pytest.mark.parametrize(("backend", "precision"), WAYS)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_fast_path_is_the_reference_path(network: Network, backend: str, precision: str) -> None:
    runner = opened(network, backend, precision)
    assert runner.frame
    exact = replace(opened(network, "torch", "fp32"), frame=None)
    # A size that comes twice in a row is compiled for.
    for size in [(24, 40), (24, 40), (13, 21), (13, 21), (24, 40)]:
        frame = noise(*size)
        expected = enhance(exact, frame)
        sr = runner.frame(torch.from_numpy(frame)[None])[0].numpy()
        assert sr.dtype == np.uint8
        assert sr.shape == expected.shape
        assert levels_apart(sr, expected) <= 1
        if precision == "fp32":
            assert np.mean(sr != expected) <= 1e-3


@pytest.mark.parametrize(("backend", "precision"), WAYS[1:])
def test_a_student_in_8_bits_gives_what_it_was_trained_to(backend: str, precision: str) -> None:
    torch.manual_seed(0)
    student = StudentDirect(width=8, depth=3, int8=True)
    student.train()(torch.rand(1, 3, 32, 32))
    test_fast_path_is_the_reference_path(student.eval(), backend, precision)


def test_images_take_the_fast_path_in_exact_tiles(fast: StudentFast) -> None:
    runner = opened(fast, "torch", "fp32")
    sizes = []

    def counted(frame: Tensor) -> Tensor:
        assert runner.frame
        sizes.append(tuple(frame.shape))
        return runner.frame(frame)

    picture = noise(45, 61)
    tiles = enhance(replace(runner, frame=counted), picture, tile=24)
    assert len(sizes) > 4
    assert levels_apart(tiles, enhance(runner, picture)) <= 1


def test_other_images_take_the_reference_path(fast: StudentFast) -> None:
    def refuse(frame: Tensor) -> Tensor:
        raise AssertionError("only 8-bit RGB at the network's scale")

    runner = replace(opened(fast, "torch", "fp32"), frame=refuse)
    for picture in (noise(8, 8)[..., :1], noise(8, 8).astype(np.uint16)):
        enhance(runner, picture)
    enhance(runner, noise(8, 8), scale=1)
