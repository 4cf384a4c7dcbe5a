"""kd_lightning.quality against independent implementations."""

import kornia.metrics
import pytest
import pytorch_msssim
import torch
from torch import Tensor

from kd_lightning import quality
from kd_lightning.models.interpolate import downscale, upscale


@pytest.fixture(scope="module")
def pair(photo_tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A photograph, 301x398, and its 8-bit bicubic restoration from half size, odd pixels cut."""
    hr = photo_tensor[..., 100:402, 40:438]
    lr = quality.to_8bit(downscale(hr, 2))
    return quality.to_8bit(upscale(lr, 2))[..., :301, :], hr[..., :301, :]


def test_ssim_equals_pytorch_msssim(pair: tuple[Tensor, Tensor]) -> None:
    expected = pytorch_msssim.ssim(*pair, data_range=1, size_average=False)
    torch.testing.assert_close(quality.ssim(*pair), expected, atol=1e-5, rtol=0)


def test_ssim_equals_kornia_on_valid_windows(pair: tuple[Tensor, Tensor]) -> None:
    expected = kornia.metrics.ssim(*pair, window_size=11, padding="valid").mean(dim=(1, 2, 3))
    torch.testing.assert_close(quality.ssim(*pair), expected, atol=1e-5, rtol=0)


def test_ssim_of_an_image_with_itself_is_one(photo_tensor: Tensor) -> None:
    assert quality.ssim(photo_tensor, photo_tensor).item() == pytest.approx(1, abs=1e-6)


def test_ssim_scores_each_image_of_a_batch_by_itself(pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    batch = quality.ssim(torch.cat([sr, hr]), torch.cat([hr, hr]))
    torch.testing.assert_close(batch[:1], quality.ssim(sr, hr))
    assert batch[1] == pytest.approx(1, abs=1e-6)


def test_ssim_is_computed_in_float32_under_autocast(pair: tuple[Tensor, Tensor]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        score = quality.ssim(*pair)
    assert score.dtype == torch.float32
    torch.testing.assert_close(score, quality.ssim(*pair), atol=0, rtol=0)


def test_ssim_first_computed_in_inference_mode_is_differentiable_later() -> None:
    x = torch.rand(1, 3, 23, 29)  # a size that no other test uses
    with torch.inference_mode():
        quality.ssim(x, x)
    x.requires_grad_()
    quality.ssim(x, torch.rand(1, 3, 23, 29)).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="smaller than SSIM's 11x11"):
        quality.ssim(torch.rand(1, 3, 10, 40), torch.rand(1, 3, 10, 40))


def test_ssim_refuses_images_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        quality.ssim(torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 21))


def test_psnr_of_a_known_error() -> None:
    """A constant error of 1/10 is 20 dB by definition."""
    hr = torch.rand(2, 3, 16, 16) * 0.5
    torch.testing.assert_close(quality.psnr(hr + 0.1, hr), torch.full((2,), 20.0).double())


def test_luma_spans_the_limited_range() -> None:
    black, white = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    assert quality.luma(black).item() * 255 == pytest.approx(16, abs=1e-4)
    assert quality.luma(white).item() * 255 == pytest.approx(235, abs=1e-4)


def test_scores_are_of_the_clamped_8_bit_output(pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    noisy = sr + 0.001 * torch.sin(torch.arange(sr.numel())).view_as(sr)
    rounded = (noisy * 255).round().clamp(0, 255).byte().float() / 255
    scores, expected = quality.scores(noisy, hr, 2), quality.scores(rounded, hr, 2)
    for name in expected:
        torch.testing.assert_close(scores[name], expected[name])


def test_scores_equal_basicsr(pair: tuple[Tensor, Tensor]) -> None:
    """basicsr computes both in float64 on 8-bit BGR arrays."""
    pytest.importorskip("basicsr", reason="extra basicsr is not installed")
    from kd_lightning.compat import import_basicsr

    metrics = import_basicsr().metrics.psnr_ssim
    sr, hr = ((image[0] * 255).byte().permute(1, 2, 0).numpy()[..., ::-1] for image in pair)
    scores = quality.scores(*pair, 2)
    ssim_rgb = metrics.calculate_ssim(sr, hr, crop_border=0)
    psnr_y = metrics.calculate_psnr(sr, hr, crop_border=2, test_y_channel=True)
    ssim_y = metrics.calculate_ssim(sr, hr, crop_border=2, test_y_channel=True)
    assert scores["ssim_rgb"].item() == pytest.approx(ssim_rgb, abs=1e-4)
    assert scores["psnr_y"].item() == pytest.approx(psnr_y, abs=1e-3)
    assert scores["ssim_y"].item() == pytest.approx(ssim_y, abs=1e-4)
