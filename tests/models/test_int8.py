"""kd_lightning.models.int8."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.models.int8 import (
    LEVELS,
    Int8Conv,
    Uint8ReLU,
    round_activations,
    rounded,
    rounded_zero_sum,
)
from kd_lightning.models.network import fuse, fuse_and_round
from kd_lightning.models.students import StudentDirect


def levels(weight: torch.Tensor, original: torch.Tensor) -> np.ndarray:
    """`weight` in steps of each channel's largest original weight / 127."""
    step = np.abs(original.numpy()).max(axis=(1, 2, 3), keepdims=True) / LEVELS
    return weight.numpy() / step


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_are_rounded_to_the_nearest_of_255_levels(seed: int) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    found = rounded(weight)
    exact = levels(weight, weight)
    np.testing.assert_allclose(levels(found, weight), np.rint(exact), atol=1e-3)
    torch.testing.assert_close(rounded(found), found, atol=0, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_zero_sum_kernel_stays_one_and_moves_by_less_than_a_level(seed: int) -> None:
    weight = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(seed))
    taps = weight.view(4, 3, -1)
    weight = (taps - taps.mean(dim=2, keepdim=True)).view_as(weight)
    found = levels(rounded_zero_sum(weight, 3), weight)
    np.testing.assert_allclose(found, np.rint(found), atol=1e-3)
    assert np.abs(found - levels(weight, weight)).max() <= 1
    assert np.abs(np.rint(found).reshape(4, 3, -1).sum(axis=2)).max() == 0


def test_activations_have_256_levels_up_to_the_largest_one_seen() -> None:
    layer = Uint8ReLU()
    x = torch.linspace(-1, 2, 3000)
    torch.testing.assert_close(layer.eval()(x), x.relu())  # nothing was seen yet
    layer.train()(x)
    layer.eval()
    expected = (x.clamp(0, 2) * 127.5).round() / 127.5
    assert (layer(x) - expected).abs().max() <= 1e-6
    assert len(layer(2 * x).unique()) == 256
    assert layer(2 * x).max() == pytest.approx(2)


def test_rounding_lets_gradients_pass() -> None:
    layer = Uint8ReLU()
    x = torch.tensor([-1.0, 0.3, 0.7001, 2.0], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1]
    conv = Int8Conv(2, 2, 3)
    conv(torch.ones(1, 2, 3, 3)).sum().backward()
    assert conv.weight.grad is not None
    assert (conv.weight.grad == 1).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_training_rounds_and_learns_as_the_rounding_that_is_exported(
    seed: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (3 * torch.randn(2, 4, 9, 7, generator=generator)).to(dtype)
    grads = torch.randn(x.shape, generator=generator).to(dtype)
    layer = Uint8ReLU().train()
    found, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
    rounded_now = layer(found)
    exported = round_activations(wanted.float().relu(), layer.top).to(dtype)
    assert rounded_now.dtype == dtype and torch.equal(rounded_now, exported)
    rounded_now.backward(grads)
    exported.backward(grads)
    assert torch.equal(found.grad, wanted.grad)  # type: ignore[arg-type]
    assert torch.equal(x, found)  # what other layers read is left alone


def test_a_layer_that_never_answers_rounds_nothing_and_trains() -> None:
    x = torch.full((1, 1, 2, 2), -1.0, requires_grad=True)
    layer = Uint8ReLU().train()
    layer(x).sum().backward()
    assert x.grad is not None and not x.grad.any() and not layer.top


@pytest.mark.parametrize("rep", [False, True])
def test_what_is_written_down_computes_what_was_trained(rep: bool) -> None:
    torch.manual_seed(3)
    student = StudentDirect(width=8, depth=4, rep=rep, int8=True)
    x = torch.rand(1, 3, 12, 9)
    student.train()(x)
    student.eval()
    for written in (fuse(student), fuse_and_round(student)):
        assert (written(x) - student(x)).abs().max() <= 2e-3  # biases are rounded to bfloat16
