"""kd_lightning.models.students."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_lightning.models.interpolate import upscale
from kd_lightning.models.network import fuse, load_fused
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast

STUDENTS = {
    "cnn_full": lambda: StudentCNN(),
    "cnn_residual": lambda: StudentCNN(residual=True),
    "cnn_half": lambda: StudentCNN(process="half"),
    "fast": lambda: StudentFast(),
    "cnn_rep": lambda: StudentCNN(residual=True, rep=True),
    "fast_rep": lambda: StudentFast(width=8, depth=4, rep=True),
    "direct": lambda: StudentDirect(width=8, depth=3),
    "direct_rep_int8": lambda: StudentDirect(width=8, depth=3, rep=True, int8=True),
    "direct_grey": lambda: StudentDirect(width=8, depth=3, grey=True),
    "direct_grey_rep_int8": lambda: StudentDirect(width=8, depth=3, rep=True, int8=True, grey=True),
    "fast_grey": lambda: StudentFast(width=8, depth=4, grey=True),
    "fast_grey_rep": lambda: StudentFast(width=8, depth=4, rep=True, grey=True),
    "fast_stride_4": lambda: StudentFast(width=8, depth=3, stride=4),
}


@pytest.fixture(params=STUDENTS)
def student(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return STUDENTS[request.param]().eval()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("process", ["full", "half"])
def test_student_cnn_has_77379_parameters_in_every_mode(residual: bool, process: str) -> None:
    student = StudentCNN(residual=residual, process=process)  # type: ignore[arg-type]
    assert parameters(student) == 77_379


def test_student_cnn_is_the_specified_stack() -> None:
    layers = [
        (layer.in_channels, layer.out_channels, layer.kernel_size, layer.padding)
        for layer in StudentCNN().modules()
        if isinstance(layer, nn.Conv2d)
    ]
    channels = [3, 64, 64, 64, 3]
    assert layers == [(a, b, (3, 3), (1, 1)) for a, b in pairwise(channels)]


def test_student_fast_has_fewer_parameters_than_the_specified_student() -> None:
    assert parameters(StudentFast()) <= 77_000


@pytest.mark.parametrize("rep", [False, True])
def test_grey_student_adds_the_same_to_red_green_and_blue(rep: bool) -> None:
    torch.manual_seed(2)
    student = StudentFast(width=8, depth=3, rep=rep, grey=True)
    image = torch.rand(1, 3, 20, 23)
    for network in (student, fuse(student)):
        red, green, blue = (network(image) - image).unbind(dim=1)
        torch.testing.assert_close(red, green, atol=1e-6, rtol=0)
        torch.testing.assert_close(red, blue, atol=1e-6, rtol=0)
        assert red.abs().max() > 1e-3


@pytest.mark.parametrize("rep", [False, True])
def test_grey_student_goes_on_from_its_fused_weights(rep: bool) -> None:
    torch.manual_seed(3)
    first, second = (StudentFast(width=8, depth=3, rep=rep, grey=True) for _ in range(2))
    load_fused(second, fuse(first))
    image = torch.rand(1, 3, 20, 23)
    torch.testing.assert_close(first(image), second(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rep", [False, True])
@pytest.mark.parametrize("int8", [False, True])
def test_grey_student_on_the_lr_image_adds_a_grey_that_depends_on_luma_alone(
    rep: bool, int8: bool
) -> None:
    torch.manual_seed(2)
    student = StudentDirect(width=8, depth=3, rep=rep, int8=int8, grey=True)
    student(torch.rand(1, 3, 32, 32))  # the ranges of its 8 bits
    student.eval()
    image = 0.25 + 0.5 * torch.rand(1, 3, 20, 23)
    weights = torch.tensor([0.299, 0.587, 0.114])
    shift = 0.2 * torch.rand(1, 3, 20, 23)
    shift[:, 2] = -(shift[:, 0] * weights[0] + shift[:, 1] * weights[1]) / weights[2]  # no luma
    for network in (student, fuse(student)):
        with torch.inference_mode():
            details = [network(x) - upscale(x, 2).clamp(0, 1) for x in (image, image + shift)]
        torch.testing.assert_close(details[0][:, 0], details[0][:, 2], atol=1e-6, rtol=0)
        assert details[0].abs().max() > 1e-3
        apart = (details[0] - details[1]).abs().max() / details[0].abs().max()
        assert apart < (0.1 if int8 else 1e-4)  # 8 bits round the three colours apart


@pytest.mark.parametrize("rep", [False, True])
def test_grey_student_on_the_lr_image_goes_on_from_weights_of_either_kind(rep: bool) -> None:
    torch.manual_seed(3)
    first = StudentDirect(width=8, depth=3, rep=rep, grey=True)
    coloured = StudentDirect(width=8, depth=3, rep=rep)
    grey_image = torch.rand(1, 1, 20, 23).expand(1, 3, 20, 23)
    for source in (first, coloured):
        second = StudentDirect(width=8, depth=3, rep=rep, grey=True)
        load_fused(second, fuse(source))
        expected = source(grey_image).mean(dim=1)
        torch.testing.assert_close(second(grey_image).mean(dim=1), expected, atol=1e-5, rtol=0)


def test_unknown_activation_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="relu, silu, gelu, prelu: 'mish'"):
        StudentFast(activation="mish")


@pytest.mark.parametrize("rep", [False, True])
@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (StudentFast, {"depth": 1}),
        (StudentFast, {"width": 0}),
        (StudentFast, {"stride": 0}),
        (partial(StudentFast, grey=True), {"depth": 0}),
        (StudentDirect, {"depth": 1}),
        (StudentDirect, {"width": -16}),
        (partial(StudentDirect, grey=True, int8=True), {"depth": 1}),
    ],
)
def test_sizes_of_which_no_student_can_be_made_are_refused_by_name(
    make: Callable[..., Any], sizes: dict[str, int], rep: bool
) -> None:
    ((name, size),) = sizes.items()
    with pytest.raises(ValueError, match=f"^{name} must be at least [12], not {size}$"):
        make(**sizes, rep=rep)


def test_rep_student_adds_the_same_detail_to_flat_areas_of_any_colour() -> None:
    torch.manual_seed(6)
    student = StudentFast(width=8, depth=3, rep=True)
    areas = [torch.rand(1, 3, 1, 1).expand(1, 3, 40, 40) for _ in range(2)]
    details = [(student(area) - area)[..., 12:-12, 12:-12] for area in areas]
    torch.testing.assert_close(details[0], details[1], atol=1e-6, rtol=0)


def test_every_branch_learns() -> None:
    torch.manual_seed(5)
    student = StudentFast(width=8, depth=3, rep=True)
    student(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in student.parameters())


def test_residual_student_adds_its_input() -> None:
    torch.manual_seed(1)
    plain, residual = StudentCNN(), StudentCNN(residual=True)
    residual.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 10, 12)
    torch.testing.assert_close(residual(x), plain(x) + x)


def test_half_process_interpolates_the_output_of_the_same_layers() -> None:
    full, half = StudentCNN(), StudentCNN(process="half")
    half.load_state_dict(full.state_dict())
    lr = torch.rand(1, 3, 8, 10)
    torch.testing.assert_close(half(lr), upscale(full(lr), 2))


def test_unknown_process_is_refused() -> None:
    with pytest.raises(ValueError, match="full or half"):
        StudentCNN(process="quarter")  # type: ignore[arg-type]


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 25), width=st.integers(1, 25), name=st.sampled_from(list(STUDENTS)))
def test_output_size_follows_from_any_input_size(height: int, width: int, name: str) -> None:
    student = STUDENTS[name]()
    scale = student.scale if student.takes_lr else 1
    sr = student(torch.rand(1, 3, height, width))
    assert sr.shape == (1, 3, height * scale, width * scale)


def test_no_pixel_beyond_the_radius_matters(student: nn.Module) -> None:
    """The stated radius is what makes tiles exact: the gradient of one output pixel vanishes
    outside of it, and reaches within `stride` pixels of it."""
    side, reach = 61, int(student.radius)
    x = torch.rand(1, 3, side, side, requires_grad=True)
    middle = side // 2
    scale = int(student.scale) if student.takes_lr else 1
    far = 0
    for row in range(middle, middle + int(student.multiple_of)):
        for place in range(row * scale, row * scale + scale):
            (grad,) = torch.autograd.grad(student(x)[0, :, place, place].sum(), x)
            rows = influence(grad)
            far = max(far, int((rows - row).abs().max()))
    assert reach - int(student.multiple_of) <= far <= reach


def influence(grad: Tensor) -> Tensor:
    """Rows that the output depends on."""
    return grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
