"""kd_lightning.models.students."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_lightning.models.interpolate import upscale
from kd_lightning.models.students import ACTIVATIONS, RepConv, StudentCNN, StudentFast, StudentRep

STUDENTS = {
    "cnn_full": lambda: StudentCNN(),
    "cnn_residual": lambda: StudentCNN(residual=True),
    "cnn_half": lambda: StudentCNN(process="half"),
    "fast": lambda: StudentFast(),
    "rep": lambda: StudentRep(width=8, depth=4),
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


def test_unknown_activation_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="relu, silu, gelu, prelu: 'mish'"):
        StudentFast(activation="mish")


def branches(block: RepConv, x: Tensor) -> Tensor:
    """The output of a RepConv with each branch run as convolutions of its own."""
    edges = [
        F.conv2d(
            F.conv2d(x, point[..., None, None]),
            (scale * mask.flatten()).view(-1, 1, 3, 3),
            padding=1,
            groups=len(point),
        )
        for point, scale, mask in zip(block.edge, block.edge_scale, block.masks, strict=True)
    ]
    y = F.conv2d(x, block.weight, block.bias, padding=1) + torch.stack(edges).sum(0)
    y = y + F.conv2d(F.conv2d(x, block.expand[..., None, None]), block.squeeze, padding=1)
    y = y + F.conv2d(x, block.point[..., None, None])
    return y + x if x.shape[1] == y.shape[1] else y


@pytest.mark.parametrize(("fan_in", "fan_out"), [(12, 32), (16, 16)])
def test_folded_kernel_equals_the_branches_run_apart(fan_in: int, fan_out: int) -> None:
    torch.manual_seed(2)
    block = RepConv(fan_in, fan_out)
    torch.nn.init.normal_(block.edge_scale)
    x = torch.randn(2, fan_in, 9, 7)
    torch.testing.assert_close(block(x), branches(block, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_folded_student_is_plain_and_equal(activation: str, photo_tensor: Tensor) -> None:
    torch.manual_seed(3)
    student = StudentRep(width=8, depth=5, activation=activation)
    folded = student.folded()
    assert type(folded) is StudentFast
    assert parameters(folded) == parameters(StudentFast(width=8, depth=5, activation=activation))
    x = photo_tensor[..., 100:163, 200:251]
    torch.testing.assert_close(folded(x), student(x), atol=1e-5, rtol=0)


def test_rep_student_absorbs_a_folded_one() -> None:
    torch.manual_seed(4)
    student, plain = StudentRep(width=8, depth=3), StudentRep(width=8, depth=3).folded()
    student.absorb(plain)
    x = torch.rand(1, 3, 12, 14)
    torch.testing.assert_close(student(x), plain(x), atol=1e-5, rtol=0)


def test_rep_student_adds_the_same_detail_to_flat_areas_of_any_colour() -> None:
    torch.manual_seed(6)
    student = StudentRep(width=8, depth=3)
    areas = [torch.rand(1, 3, 1, 1).expand(1, 3, 40, 40) for _ in range(2)]
    details = [(student(area) - area)[..., 12:-12, 12:-12] for area in areas]
    torch.testing.assert_close(details[0], details[1], atol=1e-6, rtol=0)


def test_every_branch_learns() -> None:
    torch.manual_seed(5)
    student = StudentRep(width=8, depth=3)
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
    for row in range(middle, middle + int(student.stride)):
        for place in range(row * scale, row * scale + scale):
            (grad,) = torch.autograd.grad(student(x)[0, :, place, place].sum(), x)
            rows = influence(grad)
            far = max(far, int((rows - row).abs().max()))
    assert reach - int(student.stride) <= far <= reach


def influence(grad: Tensor) -> Tensor:
    """Rows that the output depends on."""
    return grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
