"""Networks fused, rounded, and taken over by one that trains on."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.models.network import Network, fuse, fuse_and_round, load_fused, model_info
from kd_lightning.models.rep import RepConv
from kd_lightning.models.students import ACTIVATIONS, StudentCNN, StudentFast

STUDENTS = {
    "cnn": lambda rep: StudentCNN(residual=True, rep=rep),
    "cnn_plain": lambda rep: StudentCNN(rep=rep),
} | {
    name: lambda rep, name=name: StudentFast(width=8, depth=5, activation=name, rep=rep)
    for name in ACTIVATIONS
}


@pytest.fixture(params=STUDENTS)
def pair(request: pytest.FixtureRequest) -> tuple[Network, Network]:
    """A re-parameterized student and a plain one of the same shape, of other weights."""
    torch.manual_seed(3)
    return STUDENTS[request.param](True), STUDENTS[request.param](False)


@pytest.mark.parametrize("make", STUDENTS.values(), ids=STUDENTS)
def test_checkpoint_of_a_network_that_took_over_another_restores_it(
    make: Callable[[bool], Network], piece: Tensor
) -> None:
    torch.manual_seed(5)
    student, plain, fresh = make(True), make(False), make(True)
    load_fused(student, plain)
    fresh.load_state_dict(student.state_dict())
    torch.testing.assert_close(fresh(piece), plain(piece), atol=1e-5, rtol=0)


@pytest.fixture
def piece(photo_tensor: Tensor) -> Tensor:
    return photo_tensor[..., 100:163, 200:251]


def test_fused_network_is_plain_and_equal(pair: tuple[Network, Network], piece: Tensor) -> None:
    student, plain = pair
    fused = fuse(student)
    assert not any(isinstance(layer, RepConv) for layer in fused.modules())
    plain.load_state_dict(fused.state_dict())
    torch.testing.assert_close(plain(piece), student(piece), atol=1e-5, rtol=0)


def test_network_takes_over_a_fused_one(pair: tuple[Network, Network], piece: Tensor) -> None:
    student, plain = pair
    load_fused(student, plain)
    assert any(isinstance(layer, RepConv) for layer in student.modules())
    torch.testing.assert_close(student(piece), plain(piece), atol=1e-5, rtol=0)


def test_rounded_parameters_are_exact_in_bfloat16(piece: Tensor) -> None:
    torch.manual_seed(4)
    student = StudentFast(width=8, depth=3, rep=True)
    before = [parameter.clone() for parameter in student.parameters()]
    rounded = fuse_and_round(student)
    for parameter in rounded.parameters():
        assert torch.equal(parameter, parameter.bfloat16().float())
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), before, strict=True))
    assert 0 < (rounded(piece) - student(piece)).abs().max() <= 4e-3


def test_parameters_that_are_not_real_numbers_stay_as_they_are() -> None:
    network = torch.nn.Module()
    network.phase = torch.nn.Parameter(torch.tensor([0.123456 + 0.654321j]))
    network.places = torch.nn.Parameter(torch.tensor([257]), requires_grad=False)
    rounded = fuse_and_round(network)
    assert torch.equal(rounded.phase, network.phase)
    assert torch.equal(rounded.places, network.places)


class Impossible(StudentCNN):
    multiple_of = 0


def test_impossible_statements_are_refused() -> None:
    with pytest.raises(UserError, match="Impossible states impossible numbers"):
        model_info(Impossible())


def test_layers_of_ones_own_are_fused_by_their_method(piece: Tensor) -> None:
    """At any depth, and where one layer has two names."""

    class Doubled(torch.nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

        def fuse(self) -> torch.nn.Conv2d:
            plain = torch.nn.Conv2d(3, 3, 3, padding=1)
            plain.load_state_dict({name: 2 * value for name, value in self.state_dict().items()})
            return plain

    layer = Doubled(3, 3, 3, padding=1)
    network = torch.nn.Sequential(torch.nn.Sequential(layer), torch.nn.ReLU(), layer)
    plain = fuse(network)
    assert not any(isinstance(module, Doubled) for module in plain.modules())
    torch.testing.assert_close(plain(piece), network(piece), atol=1e-5, rtol=0)
