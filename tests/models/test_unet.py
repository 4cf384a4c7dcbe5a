"""kd_lightning.models.unet."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.tiling import tiled
from kd_lightning.models.unet import UNet


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(width=8, outer=1, inner=1).eval().requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(64, 48), (37, 51), (5, 6)])
def test_any_size_comes_back_in_that_size(unet: UNet, height: int, width: int) -> None:
    assert unet(torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize(("name", "size"), [("width", 0), ("outer", -1), ("inner", -1)])
def test_sizes_of_which_no_network_can_be_made_are_refused_by_name(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be at least [01], not {size}$"):
        UNet(**{name: size})


def test_it_starts_near_its_input(unet: UNet) -> None:
    x = torch.rand(1, 3, 64, 64)
    assert 0 < (unet(x) - x).abs().max() < 0.1


def test_an_output_depends_on_nothing_beyond_the_stated_radius(unet: UNet) -> None:
    side, middle = 160, 80
    x = torch.rand(1, 3, side, side).requires_grad_(True)
    for offset in range(unet.multiple_of):
        (gradient,) = torch.autograd.grad(unet(x)[0, :, middle + offset, middle].sum(), x)
        rows = gradient.abs().amax(dim=(0, 1, 3)).nonzero().flatten()
        reach = max(middle + offset - int(rows.min()), int(rows.max()) - middle - offset)
        assert reach <= unet.radius


def test_tiles_equal_the_whole(unet: UNet) -> None:
    image = torch.rand(1, 3, 150, 122)
    whole = unet(image)
    parts = tiled(unet, image, tile=40, halo=unet.radius, multiple=unet.multiple_of)
    assert (parts - whole).abs().max() <= 1e-5


def test_its_artifact_loads_in_a_program_that_has_not_imported_it(
    unet: UNet, tmp_path: Path
) -> None:
    path = save_artifact(tmp_path / "u.safetensors", unet, {"width": 8, "outer": 1, "inner": 1})
    program = (
        "import sys; from kd_lightning.models.artifact import load_artifact; "
        f"assert 'kd_lightning.models.unet' not in sys.modules; load_artifact({str(path)!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
