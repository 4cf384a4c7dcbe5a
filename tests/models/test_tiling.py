"""Tiles cover an image exactly, and reproduce what the network computes on the whole of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_lightning.models.students import StudentCNN, StudentFast
from kd_lightning.models.tiling import tiled

STUDENTS: list[nn.Module] = [
    StudentCNN(),
    StudentCNN(residual=True),
    StudentCNN(process="half", scale=2),
    StudentCNN(process="half", scale=3),
    StudentFast(width=8, depth=4),
    StudentFast(width=8, depth=3, stride=4),
]

sizes = st.integers(1, 61)


@settings(max_examples=60, deadline=None)
@given(
    height=sizes,
    width=sizes,
    tile=st.integers(1, 40),
    halo=st.integers(0, 9),
    blend=st.integers(0, 6),
    scale=st.integers(1, 3),
    multiple=st.integers(1, 8),
)
def test_a_pointwise_network_needs_no_halo(
    height: int, width: int, tile: int, halo: int, blend: int, scale: int, multiple: int
) -> None:
    image = torch.rand(2, 1, height, width)
    blend = min(blend, tile // 2)

    def network(x: Tensor) -> Tensor:
        return torch.kron(x, torch.ones(1, 1, scale, scale))

    options = {"halo": halo, "blend": blend, "scale": scale, "multiple": multiple}
    out = tiled(network, image, tile=tile, **options)
    torch.testing.assert_close(out, network(image), atol=1e-6, rtol=0)


@pytest.mark.parametrize("network", STUDENTS, ids=lambda n: f"{type(n).__name__}-{n.radius}")
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 75), width=st.integers(30, 75), tile=st.integers(8, 24))
def test_tiles_with_the_halo_of_the_radius_are_exact(
    network: nn.Module, height: int, width: int, tile: int
) -> None:
    scale = network.scale if network.takes_lr else 1
    image = torch.rand(1, 3, height, width)
    with torch.inference_mode():
        out = tiled(
            network,
            image,
            tile=tile,
            halo=network.radius,
            scale=scale,
            multiple=network.multiple_of,
        )
        assert (out - network(image)).abs().max() <= 1e-5


@pytest.mark.parametrize("network", STUDENTS, ids=lambda n: f"{type(n).__name__}-{n.radius}")
def test_the_declared_radius_is_the_receptive_field(network: nn.Module) -> None:
    """A pixel further than `radius` has no influence, so a smaller halo is not needed and a
    larger one would be waste; measured by gradient in double precision."""
    size = 2 * network.radius + 3 * network.multiple_of + 1
    size += -size % network.multiple_of
    reach = 0
    scale = network.scale if network.takes_lr else 1
    twin = network.double()
    for offset in range(network.multiple_of * scale):
        image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
        row = size // 2 // network.multiple_of * network.multiple_of * scale + offset
        (gradient,) = torch.autograd.grad(twin(image)[0, :, row].abs().sum(), image)
        touched = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        centre = row // scale
        reach = max(reach, centre - int(touched.min()), int(touched.max()) - centre)
    network.float()
    assert reach == network.radius


def test_integer_tiles_are_copied() -> None:
    image = torch.randint(0, 256, (1, 3, 50, 70), dtype=torch.uint8)
    assert torch.equal(tiled(lambda x: 255 - x, image, tile=16, halo=3), 255 - image)


def test_cross_faded_tiles_have_no_step_at_a_border() -> None:
    """A network that answers with its tile's number: joined hard, neighbours differ by one."""
    calls = iter(range(99))
    image = torch.zeros(1, 1, 8, 96)

    def network(x: Tensor) -> Tensor:
        return torch.full_like(x, float(next(calls)))

    out = tiled(network, image, tile=32, halo=4, blend=4)[0, 0, 0]
    assert out.diff().max() <= 1 / 8 + 1e-6
    assert out[0] == 0
    assert out[-1] == 2


def test_the_network_never_sees_more_than_a_tile_and_its_margin() -> None:
    seen: list[tuple[int, int]] = []

    def network(x: Tensor) -> Tensor:
        seen.append((x.shape[-2], x.shape[-1]))
        return x

    tiled(network, torch.zeros(1, 1, 300, 500), tile=60, halo=5, multiple=8)
    assert max(max(size) for size in seen) <= 64 + 2 * 8
    assert len(seen) == 5 * 8


@pytest.mark.parametrize(
    "wrong", [{"tile": 0}, {"halo": -1}, {"scale": 0}, {"multiple": 0}, {"blend": 3}]
)
def test_impossible_tiles_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="impossible tiles"):
        tiled(lambda x: x, torch.zeros(1, 1, 8, 8), **{"tile": 4, "halo": 1, **wrong})
