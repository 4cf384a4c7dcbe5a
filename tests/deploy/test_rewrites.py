"""Other forms of a network have the same output."""

from functools import partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_lightning.deploy.backends import cpu_has_bf16, from_network
from kd_lightning.deploy.parity import TOLERANCE
from kd_lightning.deploy.rewrites import optimize_for_cpu, split_hi_lo, split_input
from kd_lightning.models.network import Network
from kd_lightning.models.rep import RepConv
from kd_lightning.models.students import StudentCNN, StudentFast
from tests.own_students import OwnFast, PlainStudent, UndeclaredFast

NETWORKS = {
    "full": StudentCNN(residual=True),
    "half": StudentCNN(process="half"),
    "fast": StudentFast(width=8, depth=3),
    "stride 1": StudentFast(width=8, depth=3, stride=1),
    "stride 4": StudentFast(width=8, depth=3, stride=4),
    "own": OwnFast(width=8, depth=3),
    "own undeclared": UndeclaredFast(width=8, depth=3),
    "own plain": PlainStudent(),
}
FORMS = [optimize_for_cpu, split_input, partial(optimize_for_cpu, split=True)]


def widths(network: nn.Module) -> list[tuple[int, int]]:
    """(in, out) channels of each convolution."""
    shapes = [m.weight.shape for m in network.modules() if isinstance(m, nn.Conv2d)]
    return [(shape[1], shape[0]) for shape in shapes]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 51)])
@torch.inference_mode()
def test_every_form_is_exact(form: object, network: Network, height: int, width: int) -> None:
    x = torch.rand(1, 3, height, width)
    assert callable(form)
    assert (form(network)(x) - network(x)).abs().max() <= 2e-6


def test_the_given_network_stays_as_it_is() -> None:
    network = StudentCNN()
    assert widths(optimize_for_cpu(network)) == [(3, 64), (64, 64), (64, 64), (64, 12)]
    assert widths(split_input(network)) == [(6, 64), (64, 64), (64, 64), (64, 3)]
    assert widths(network) == [(3, 64), (64, 64), (64, 64), (64, 3)]


def test_a_split_image_survives_bfloat16(photo_tensor: Tensor) -> None:
    """What the first layer reads loses less than 1/300 of a level, against a third."""
    x = photo_tensor * 0.9973  # values between the levels
    high, low = (part.bfloat16().float() for part in split_hi_lo(x))
    assert (high + low - x).abs().max() * 255 <= 1 / 300
    assert (x.bfloat16().float() - x).abs().max() * 255 > 0.3


class Variant(Network):
    """Two convolutions, declared in the reverse of the order in which they run."""

    takes_lr = False
    multiple_of = 1
    scale = 2
    radius = 16

    def __init__(self, **first: object) -> None:
        super().__init__()
        self.tail = nn.Conv2d(12, 3, 3, padding=1)
        self.head = nn.Conv2d(3, 12, 3, **first)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tail(self.head(x).relu())


class Branches(Variant):
    """Two layers read the image, one of them after it was normalised and reordered."""

    def __init__(self) -> None:
        super().__init__(padding=1)
        self.second = nn.Conv2d(3, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tail(self.head(x).relu() + self.second((x - 0.5).flip(1)))


class Standardized(nn.Conv2d):
    """Is a Conv2d, but computes another kernel than its weight."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=1)


class Odd(Variant):
    """Convolutions that must be left alone: of a subclass, hooked, shared, called twice."""

    def __init__(self) -> None:
        super().__init__(padding=1)
        self.head = Standardized(3, 12, 3, padding=1)
        self.tail = Standardized(12, 3, 3, padding=1)
        self.middle = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))
        self.again = nn.Conv2d(3, 3, 3, padding=1)
        self.same = self.again

    def forward(self, x: Tensor) -> Tensor:
        return self.same(self.again(self.middle(x))) + self.tail(self.head(x).relu())


class GroupedFast(OwnFast):
    """Its body starts and ends with grouped convolutions, whose channels cannot be reordered."""

    def __init__(self) -> None:
        super().__init__(width=12, depth=3)
        self.body[0] = nn.Conv2d(12, 12, 3, padding=1, groups=2)
        self.body[-1] = nn.Conv2d(12, 12, 3, padding=1, groups=4, bias=False)


FIRST = [{"padding": 1, "groups": groups, "bias": groups != 3} for groups in (1, 3)] + [
    {"padding": 2, "dilation": 2},
    {"padding": (1, 2), "dilation": (1, 2), "groups": 3},
    {"padding": "same"},
    *({"padding": 1, "padding_mode": mode} for mode in ("reflect", "replicate", "circular")),
]
VARIANTS = {str(first): partial(Variant, **first) for first in FIRST}  # type: ignore[arg-type]
VARIANTS |= {"branches": Branches, "odd": Odd, "grouped fast": GroupedFast}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@torch.inference_mode()
def test_every_form_of_every_convolution_is_exact(variant: type[Network]) -> None:
    torch.manual_seed(0)
    network = variant().eval()
    x = torch.rand(1, 3, 21, 34)
    for form in FORMS:
        assert (form(network)(x) - network(x)).abs().max() <= 2e-6


@pytest.mark.parametrize(
    ("backend", "precision"), [*product(("torch", "openvino"), ("fp32", "bf16")), ("onnx", "fp32")]
)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@torch.inference_mode()
def test_every_backend_computes_every_convolution(
    variant: type[Network], backend: str, precision: str
) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("a CPU without bf16")
    torch.manual_seed(0)
    network = variant().eval()
    runner = from_network(network, backend, torch.device("cpu"), precision)
    x = torch.rand(1, 3, 21, 34)
    assert (runner(x) - network(x)).abs().max() <= TOLERANCE[precision]


@settings(max_examples=20, deadline=None)
@given(st.permutations(["a", "b", "c"]), st.permutations(["a", "b", "c"]))
def test_split_follows_the_data_not_the_declaration(declared: list[str], run: list[str]) -> None:
    class Chain(Variant):
        def __init__(self) -> None:
            super().__init__(padding=1)
            del self.head, self.tail
            for name in declared:
                setattr(self, name, nn.Conv2d(3, 3, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            for name in run:
                x = getattr(self, name)(x)
            return x

    split = split_input(Chain())
    assert [name for name in run if getattr(split, name).in_channels == 6] == run[:1]


def test_layers_without_weights_do_not_hide_the_image() -> None:
    split = split_input(Branches())
    assert (split.head.in_channels, split.second.in_channels, split.tail.in_channels) == (6, 6, 12)


def test_reparameterized_layers_are_fused_before_they_are_rewritten() -> None:
    forms = [form(StudentCNN(rep=True)) for form in FORMS]
    assert not any(isinstance(m, RepConv) for form in forms for m in form.modules())


@pytest.mark.parametrize("form", [optimize_for_cpu, partial(optimize_for_cpu, split=True)])
def test_users_own_class_gets_the_layers_of_ours(form: object) -> None:
    """The same operations of the same sizes, from the declarations alone."""
    assert callable(form)
    ours, own = form(StudentFast(width=8, depth=3)), form(OwnFast(width=8, depth=3))
    assert repr(ours) == repr(own)
