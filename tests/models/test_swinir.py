"""The project's SwinIR: shapes, independence of batch and layout, and parity with basicsr's."""

import importlib.util

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from kd_lightning.compat import import_basicsr
from kd_lightning.models.swinir import SwinIR, mirror_to_multiple
from tests.models.swinir_variants import LIGHT, TINY, VARIANTS, randomise


def basicsr_swinir(**arguments):
    if importlib.util.find_spec("basicsr") is None:
        pytest.skip("the extra basicsr is not installed")
    import_basicsr()
    from basicsr.archs.swinir_arch import SwinIR as Reference

    return Reference(img_size=8 * arguments["window_size"], **arguments)


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_basicsr(variant):
    arguments = VARIANTS[variant]
    window, scale = arguments["window_size"], arguments["upscale"]
    reference = randomise(basicsr_swinir(**arguments))
    network = SwinIR(**arguments).eval()
    network.load_state_dict(reference.state_dict(), strict=True)  # with basicsr's extra buffers
    for height, width in ((3 * window, 4 * window), (27, 23)):
        x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
        padded = F.pad(x, (0, -width % window, 0, -height % window), mode="reflect")
        with torch.no_grad():
            expected = reference(padded)[..., : height * scale, : width * scale]
            assert (network(x) - expected).abs().max() < 1e-5


def test_gradients_equal_basicsr():
    reference = randomise(basicsr_swinir(**TINY, drop_path_rate=0.0))
    network = SwinIR(**TINY)
    network.load_state_dict(reference.state_dict())
    x = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    for model in (reference, network):
        model(x).square().sum().backward()
    expected = dict(reference.named_parameters())
    for name, parameter in network.named_parameters():
        scale = expected[name].grad.abs().max()
        assert torch.allclose(parameter.grad, expected[name].grad, atol=1e-4 * scale), name


def test_parameter_count_is_the_papers():
    assert sum(p.numel() for p in SwinIR(**LIGHT).parameters()) == 910_152


@pytest.mark.parametrize("scale", [2, 3])
def test_fresh_light_network_interpolates_and_its_body_can_learn(scale):
    """Quadratic interpolation reproduces a quadratic image, up to the zero padding at the rim."""
    network = SwinIR(**{**TINY, "upscale": scale})
    y, x = torch.meshgrid(torch.linspace(0, 1, 16), torch.linspace(0, 1, 16), indexing="ij")
    step = (torch.arange(16 * scale) + 0.5) / scale - 0.5
    fine_y, fine_x = torch.meshgrid(step / 15, step / 15, indexing="ij")
    image, expected = (a * a - 0.3 * b * b + 0.5 * a * b for a, b in ((y, x), (fine_y, fine_x)))
    out = network(image.expand(1, 3, 16, 16))
    inner = slice(scale, -scale)
    assert (out[0, 0] - expected)[inner, inner].abs().max() < 1e-5
    out.square().sum().backward()
    assert network.conv_after_body.weight.grad.abs().max() > 0


def test_state_dict_holds_parameters_only():
    network = SwinIR(**TINY)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    scale_tail=st.sampled_from(
        [(1, ""), (2, "pixelshuffle"), (3, "pixelshuffle"), (3, "pixelshuffledirect")]
    ),
    window=st.sampled_from([4, 7]),
)
@settings(max_examples=20, deadline=None)
def test_any_size_comes_out_scaled(height, width, scale_tail, window):
    scale, upsampler = scale_tail
    network = SwinIR(**{**TINY, "upscale": scale, "upsampler": upsampler, "window_size": window})
    with torch.no_grad():
        out = network(torch.rand(1, 3, height, width))
    assert out.shape == (1, 3, height * scale, width * scale)
    assert network.scale == scale and network.takes_lr


def test_images_of_a_batch_do_not_see_each_other():
    network = randomise(SwinIR(**TINY))
    x = torch.rand(3, 3, 23, 18)
    with torch.no_grad():
        single = torch.cat([network(image[None]) for image in x])
        assert (network(x) - single).abs().max() < 1e-5


def test_windows_of_a_shifted_layer_do_not_see_across_the_border():
    """The shift wraps around; without a mask the left edge would change with the right one."""
    network = randomise(SwinIR(**{**TINY, "depths": [2], "num_heads": [2]}))
    x = torch.rand(1, 3, 32, 64)
    changed = x.clone()
    changed[..., -8:] = 0
    with torch.no_grad():
        assert (network(x) - network(changed))[..., :32].abs().max() < 1e-6


@pytest.mark.parametrize("size", [(9, 15), (8, 9), (16, 24)])
def test_mirroring_equals_reflect_padding(size):
    x = torch.rand(1, 3, *size)
    expected = F.pad(x, (0, -size[1] % 8, 0, -size[0] % 8), mode="reflect")
    assert torch.equal(mirror_to_multiple(x, 8), expected)


def test_mirroring_goes_on_where_the_image_is_smaller_than_the_padding():
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert mirror_to_multiple(row, 8)[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]


def test_bf16_autocast_stays_near_fp32():
    network = randomise(SwinIR(**TINY))
    x = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        full = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert torch.isfinite(half).all()
    assert (half - full).abs().max() < 0.02 * full.std() + 0.02


@pytest.mark.slow
def test_exports_and_equals_eager():
    network = randomise(SwinIR(**TINY))
    x = torch.rand(1, 3, 24, 17)
    with torch.no_grad():
        exported = torch.export.export(network, (x,)).module()
        assert (exported(x) - network(x)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        {"upsampler": "bilinear"},
        {"upsampler": "", "upscale": 2},
        {"upsampler": "nearest+conv", "upscale": 3},
        {"upsampler": "pixelshuffle", "upscale": 6},
        {"resi_connection": "2conv"},
        {"num_heads": [2]},
    ],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ValueError):
        SwinIR(**{**TINY, **wrong})
