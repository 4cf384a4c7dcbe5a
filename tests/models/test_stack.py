"""kd_lightning.models.stack."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.models import stack
from kd_lightning.models.stack import ConvolutionStack
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast

NETWORKS = {
    "cnn": lambda: StudentCNN(residual=True),
    "fast": lambda: StudentFast(width=16, depth=4),
    "fast_rep": lambda: StudentFast(width=16, depth=4, rep=True),
    "direct_rep": lambda: StudentDirect(width=8, depth=3, rep=True),
}
OTHER = {
    "silu": lambda: StudentFast(width=8, depth=3, activation="silu"),
    "int8": lambda: StudentDirect(width=8, depth=3, int8=True),
    "rep_int8": lambda: StudentDirect(width=8, depth=3, rep=True, int8=True),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows whenever the fast path is taken."""
    found: list[Any] = []
    apply = stack._Stack.apply

    def counted(*args: Any) -> Any:
        found.append(args)
        return apply(*args)

    monkeypatch.setattr(stack._Stack, "apply", counted)
    return found


def trained(network: nn.Module, plain: bool, autocast: bool = False) -> list[Tensor]:
    """The output for 11 images, which are no whole number of parts, and all gradients."""
    network = copy.deepcopy(network)
    if plain:
        for layer in network.modules():
            if isinstance(layer, ConvolutionStack):
                layer.__class__ = nn.Sequential
    torch.manual_seed(1)
    x = torch.rand(11, 3, 16, 20, dtype=next(network.parameters()).dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = network(x)
    output.square().sum().backward()
    return [output.detach(), x.grad, *(p.grad for p in network.parameters())]  # type: ignore[list-item]


@pytest.mark.parametrize("name", NETWORKS)
def test_output_and_gradients_equal_those_of_the_layers_one_by_one(
    name: str, calls: list[Any]
) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    expected = trained(network, plain=True)
    assert not calls
    got = trained(network, plain=False)
    assert len(calls) == 1
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_in_bf16_it_is_as_near_to_float32_as_the_layers_one_by_one(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    exact = trained(network, plain=True)
    errors = []
    for plain in (True, False):
        found = trained(network, plain, autocast=True)
        pairs = list(zip(found, exact, strict=True))
        errors.append(sum(float((a - b).norm() / b.norm()) for a, b in pairs) / len(pairs))
    assert errors[1] < 1.1 * errors[0] + 1e-3
    assert 0 < errors[1] < 0.05


@pytest.mark.parametrize("name", OTHER)
def test_other_layers_go_one_by_one(name: str, calls: list[Any]) -> None:
    torch.manual_seed(0)
    trained(OTHER[name](), plain=False)
    assert not calls


def test_a_watched_layer_is_called(calls: list[Any]) -> None:
    """Feature distillation reads the input of the last layer with a hook."""
    network = NETWORKS["fast"]()
    seen: list[Any] = []
    network.body[-1].register_forward_hook(lambda *args: seen.append(args))
    network(torch.rand(2, 3, 8, 8))
    assert len(seen) == 1
    assert not calls


def test_what_does_not_train_goes_one_by_one(calls: list[Any]) -> None:
    network = NETWORKS["fast"]()
    with torch.no_grad():
        network(torch.rand(1, 3, 8, 8))
    network.eval()(torch.rand(1, 3, 8, 8))
    assert not calls
