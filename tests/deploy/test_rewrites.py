"""Other forms of a network have the same output."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.deploy.rewrites import optimize_for_cpu, split_input
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentCNN, StudentFast

NETWORKS = {
    "full": StudentCNN(residual=True),
    "half": StudentCNN(process="half"),
    "fast": StudentFast(width=8, depth=3),
    "stride 4": StudentFast(width=8, depth=3, stride=4),
}


def widths(network: nn.Module) -> list[tuple[int, int]]:
    """(in, out) channels of each convolution."""
    shapes = [m.weight.shape for m in network.modules() if isinstance(m, nn.Conv2d)]
    return [(shape[1], shape[0]) for shape in shapes]


@pytest.mark.parametrize(
    "form", [optimize_for_cpu, split_input, partial(optimize_for_cpu, split=True)]
)
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
    (split,) = [m for m in split_input(StudentCNN()).modules() if type(m).__name__ == "_Split"]
    x = photo_tensor * 0.9973  # values between the levels
    read = split(x).bfloat16().float()
    assert (read[:, :3] + read[:, 3:] - x).abs().max() * 255 <= 1 / 300
    assert (x.bfloat16().float() - x).abs().max() * 255 > 0.3
