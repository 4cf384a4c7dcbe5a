"""ncnn computes what torch does, in tiles that leave no trace."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.deploy.backends import open_weights
from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import shipped
from kd_lightning.models.students import StudentCNN, StudentFast
from kd_lightning.models.swinir import SwinIR

pytest.importorskip("ncnn")
from kd_lightning.deploy.backends.ncnn import TILE, with_ncnn


@pytest.fixture(scope="module")
def pair() -> tuple[StudentCNN, StudentCNN]:
    network = StudentCNN(residual=True).eval()
    return network, with_ncnn(network)  # type: ignore[return-value]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3 * TILE), st.integers(1, 3 * TILE))
def test_any_size_and_batch_is_exact(
    pair: tuple[StudentCNN, StudentCNN], batch: int, height: int, width: int
) -> None:
    network, by_ncnn = pair
    x = torch.rand(batch, 3, height, width)
    with torch.inference_mode():
        assert (by_ncnn(x) - network(x)).abs().max() <= 1e-5


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "prelu"])
@torch.inference_mode()
def test_every_activation_is_ncnns(activation: str) -> None:
    network = StudentFast(width=8, depth=4, activation=activation, rep=True).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.PReLU):
            layer.weight.fill_(-0.7)
    x = torch.rand(1, 3, 33, 50)
    assert (with_ncnn(network)(x) - network(x)).abs().max() <= 1e-5


@torch.inference_mode()
def test_the_shipped_student_is_within_the_tolerance_of_fp32() -> None:
    weights = shipped()["student_cnn"]
    runner = open_weights(weights, "ncnn", "cpu", "fp32")
    assert runner.name == "ncnn cpu fp32"
    x = torch.rand(1, 3, 61, 143)
    assert (runner(x) - open_weights(weights, "torch", "cpu", "fp32")(x)).abs().max() <= 1e-5


def test_it_is_taken_for_student_cnn_in_fp32_only() -> None:
    names = {
        student: open_weights(shipped()[student], "auto", "cpu", "fp32").name.split()[0]
        for student in ("student_cnn", "student_fast")
    }
    assert names["student_cnn"] == "ncnn"
    assert names["student_fast"] != "ncnn"


def test_other_networks_are_refused() -> None:
    network = SwinIR(embed_dim=8, depths=[2], num_heads=[2], window_size=4)
    with pytest.raises(UserError, match="activations, which SwinIR has not"):
        with_ncnn(network)
