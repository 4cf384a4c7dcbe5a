"""Frames as YUV 4:2:0 planes straight from the network are the conversion of its RGB frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kd_lightning.deploy.backends import cpu_has_bf16, from_network
from kd_lightning.deploy.parity import WrongBackend, checked
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast
from kd_lightning.yuv import Matrix, Plane, Yuv, rgb_to_yuv

pytest.importorskip("openvino")
CPU = torch.device("cpu")


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("network", "matrix"),
    [(StudentFast, "bt601"), (StudentFast, "bt709"), (StudentDirect, "bt709")],
)
def test_planes_are_within_a_level_of_the_converted_frame(
    precision: str, network: type[StudentFast | StudentDirect], matrix: Matrix
) -> None:
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("a CPU without bf16")
    torch.manual_seed(1)
    runner = from_network(network(width=8, depth=3).eval(), "openvino", CPU, precision)
    assert runner.planes and runner.frame
    for height, width, full_range in ((12, 16, False), (9, 7, True), (1, 2, False)):
        small = noise(height, width)
        frame = runner.frame(torch.from_numpy(small)[None])[0].numpy()
        expected = rgb_to_yuv(frame, matrix, full_range)
        found = runner.planes(small, matrix, full_range)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_only_networks_that_enlarge_by_two_on_blocks_of_two_give_planes() -> None:
    shape = {"width": 8, "depth": 2}
    others = StudentFast(scale=3, stride=3, **shape), StudentFast(scale=1, **shape)
    for network in (StudentCNN(), *others):
        assert from_network(network.eval(), "openvino", CPU, "fp32").planes is None


def test_wrong_planes_are_refused_before_the_first() -> None:
    network = StudentFast(width=8, depth=3).eval()
    runner = from_network(network, "openvino", CPU, "fp32")
    right = runner.planes
    assert right

    def swapped(frame: Plane, matrix: Matrix, full_range: bool) -> Yuv:
        y, u, v = right(frame, matrix, full_range)
        return Yuv(y, v, u)

    wrong = checked(replace(runner, planes=swapped), network, "fp32")
    assert wrong.planes
    with pytest.raises(WrongBackend, match="differs"):
        wrong.planes(noise(8, 8), "bt601", False)
