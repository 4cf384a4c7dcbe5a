"""Students in 8 bits multiply integers in torch too, and are what they are in float32."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_lightning.deploy import torch_int8
from kd_lightning.deploy.backends import Runner, from_network, open_weights
from kd_lightning.deploy.backends.pytorch import torch_frame_runner, torch_runner
from kd_lightning.deploy.torch_int8 import IntegerConv, IntegerModel, machine_adds_exactly
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.int8 import Int8Conv, Uint8ReLU
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.network import Network, fuse, model_info
from kd_lightning.models.pretrained import find_weights, shipped
from kd_lightning.models.students import StudentDirect

CPU = torch.device("cpu")
CALLS = ("call_luma_x2", "call_midi_x2", "call_mini_x2")
IN_8_BITS = [
    name for name in (*shipped(), *CALLS) if model_info(load_artifact(find_weights(name))[0]).int8
]
needs_integers = pytest.mark.skipif(
    not machine_adds_exactly(), reason="torch has no exact integer convolutions on this CPU"
)


@pytest.fixture
def another_machine() -> Iterator[None]:
    machine_adds_exactly.cache_clear()
    yield
    machine_adds_exactly.cache_clear()


def seen(**arguments: object) -> StudentDirect:
    """A student in 8 bits after a step of training, which it needs for its ranges."""
    torch.manual_seed(0)
    student = StudentDirect(width=8, depth=3, int8=True, **arguments)  # type: ignore[arg-type]
    student.train()(torch.rand(1, 3, 24, 24))
    return student.eval()


def opened(student: StudentDirect) -> Runner:
    return from_network(student, "torch", CPU, "fp32")


def in_doubles(student: Network, frame: Tensor) -> Tensor:
    """What a student in 8 bits states, (1,h,w,3) uint8 to (1,h*2,w*2,3) float64 levels, not
    rounded."""
    layers = list(cast(nn.Sequential, fuse(student).body))
    x, step = frame.permute(0, 3, 1, 2).double(), 1 / 255
    for convolution, rounding in zip(layers[::2], [*layers[1::2], None], strict=True):
        assert isinstance(convolution, Int8Conv) and convolution.bias is not None
        weight = convolution.weight.double()
        largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
        x = torch.conv2d(x, (weight / largest * 127).round(), padding=1)
        x = x * (largest / 127 * step).flatten()[:, None, None]
        x = x + convolution.bias.double()[:, None, None]
        if rounding is not None:
            step = float(cast(Uint8ReLU, rounding).top) / 255
            x = (x / step).round().clamp(0, 255)
    image = upscale(frame.permute(0, 3, 1, 2).double() / 255, 2).clamp(0, 1)
    return ((image + F.pixel_shuffle(x, 2)).clamp(0, 1) * 255).permute(0, 2, 3, 1)


@needs_integers
@pytest.mark.parametrize("name", IN_8_BITS)
@torch.inference_mode()
def test_integers_give_what_a_student_states(name: str, photo: np.ndarray) -> None:
    network, _ = load_artifact(find_weights(name))
    runner = open_weights(find_weights(name), "torch", "cpu")
    assert runner.frame and runner.name == "torch cpu int8"
    small = torch.from_numpy(photo[:192:2, :192:2].copy())[None]
    exact = in_doubles(network, small).round()
    apart = (runner.frame(small) - exact).abs()
    assert apart.max() <= 2 and (apart > 0).double().mean() <= 1e-3


@needs_integers
@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 4]), st.booleans(), st.data()
)
def test_any_size_scale_and_colour(
    height: int, width: int, scale: int, grey: bool, data: st.DataObject
) -> None:
    student = seen(scale=scale, grey=grey, rep=data.draw(st.booleans()))
    generator = np.random.default_rng(data.draw(st.integers(0, 9)))
    frame = torch.from_numpy(generator.integers(0, 256, (1, height, width, 3), np.uint8))
    runner = opened(student)
    assert runner.frame and runner.name == "torch cpu int8"
    expected = torch_frame_runner(student, CPU, "fp32")(frame)
    assert (runner.frame(frame).int() - expected).abs().max() <= 1
    x = frame.permute(0, 3, 1, 2).float() / 256  # no level is a whole one
    assert (runner(x) - torch_runner(student, CPU, "fp32")(x)).abs().max() <= 1.5 / 255


@needs_integers
def test_frame_may_be_a_view_of_another() -> None:
    runner = opened(seen())
    whole = torch.randint(0, 256, (1, 40, 50, 3), dtype=torch.uint8)
    part = whole[:, 3:30, 5:44]
    assert runner.frame and torch.equal(runner.frame(part), runner.frame(part.contiguous()))


@needs_integers
def test_sums_are_exact_at_the_largest_numbers() -> None:
    plain = Int8Conv(64, 1, 3, padding=1, bias=False)
    torch.manual_seed(0)
    signs = torch.randint(0, 2, plain.weight.shape) * 2.0 - 1
    plain.weight.data = signs * 127  # steps of 1
    x = torch.randint(200, 256, (1, 64, 20, 20), dtype=torch.uint8)
    exact = torch.conv2d(x.double(), plain.weight.double(), padding=1)
    assert torch.equal(IntegerConv(plain, 1.0, None)(x).double(), exact)


def test_cpu_whose_sums_saturate_computes_in_float32(
    another_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saturating(self: IntegerConv, x: Tensor) -> Tensor:
        return self.plain(x.float()).clamp(max=2.0**15)

    monkeypatch.setattr(IntegerConv, "forward", saturating)
    assert opened(seen()).name == "torch cpu fp32"


def test_cpu_that_is_no_x86_computes_in_float32(
    another_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert opened(seen()).name == "torch cpu fp32"


def test_torch_without_integer_convolutions_computes_in_float32(
    another_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_int8, "GEOMETRY", ("what another version asks for",))
    assert opened(seen()).name == "torch cpu fp32"


def test_network_with_a_layer_that_is_no_integer_one_computes_in_float32() -> None:
    never_saw_an_image = StudentDirect(width=8, depth=3, int8=True)
    plain, activation, dilated = seen(), seen(), seen()
    plain.body[2] = nn.Conv2d(8, 8, 3, padding=1)
    activation.body[1] = nn.ReLU()
    dilated.body[2] = Int8Conv(8, 8, 3, padding=2, dilation=2)
    for network in (never_saw_an_image, plain, activation, dilated, StudentDirect(width=8)):
        assert not IntegerModel.fits(network)
        assert opened(network).name == "torch cpu fp32"
