"""kd_lightning.distill.one_pass."""

import pytest
import torch
from torch import Tensor

from kd_lightning.distill import one_pass
from kd_lightning.distill.one_pass import weighted_losses
from kd_lightning.quality import ssim


def pair(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """An image batch, and two others that are like it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, dtype=dtype, generator=generator)
    near = [0.8 * x + 0.2 * torch.rand(shape, dtype=dtype, generator=generator) for _ in range(2)]
    return x, near


def by_autograd(sr: Tensor, targets: list[Tensor], l1: list[float], ws: list[float]) -> Tensor:
    terms = zip(targets, l1, ws, strict=True)
    total = [a * (sr - y).abs().mean() + b * (1 - ssim(sr, y).mean()) for y, a, b in terms]
    return torch.stack(total).sum()


@pytest.mark.parametrize(
    "shape", [(2, 3, 128, 128), (5, 3, 70, 90), (1, 1, 11, 11), (3, 3, 12, 140)]
)
@pytest.mark.parametrize("weights", [([0.3, 0.6], [0.2, 0.5]), ([0.0, 1.0], [0.4, 0.0])])
def test_value_and_gradient_equal_those_of_ssim_by_autograd(
    shape: tuple[int, ...], weights: tuple[list[float], list[float]]
) -> None:
    x, targets = pair(shape, torch.float64)
    found = []
    for function in (lambda *args: weighted_losses(*args)[0], by_autograd):
        sr = x.clone().requires_grad_()
        loss = function(sr, targets, *weights)
        (3 * loss).backward()
        found.append((loss.detach(), sr.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-9)


def test_terms_are_means_over_the_batch_and_have_no_gradient() -> None:
    x, targets = pair((3, 3, 40, 50), torch.float32)
    _, terms = weighted_losses(x.requires_grad_(), targets, [1.0, 0.0], [0.0, 1.0])
    assert not terms.requires_grad
    assert terms[0, 1].isnan()  # not computed
    for number, target in enumerate(targets):
        torch.testing.assert_close(terms[number, 0], (x - target).abs().mean().detach())
    torch.testing.assert_close(terms[1, 1], 1 - ssim(x, targets[1]).mean().detach())


def test_size_of_the_tiles_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, targets = pair((4, 3, 60, 75), torch.float64)
    found = []
    for tile, pixels in ((64, 50_000), (7, 100)):
        monkeypatch.setattr(one_pass, "TILE", tile)
        monkeypatch.setattr(one_pass, "PIXELS", pixels)
        sr = x.clone().requires_grad_()
        weighted_losses(sr, targets, [0.5, 0.5], [0.5, 0.5])[0].backward()
        found.append(sr.grad)
    torch.testing.assert_close(found[0], found[1], atol=1e-14, rtol=1e-9)


def test_autocast_and_memory_layout_change_nothing() -> None:
    x, targets = pair((2, 3, 48, 48), torch.float32)
    sr = x.clone().requires_grad_()
    expected, _ = weighted_losses(sr, targets, [0.5, 0.5], [0.1, 0.1])
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = weighted_losses(last, targets, [0.5, 0.5], [0.1, 0.1])
    assert torch.equal(got, expected)
    got.backward()
    expected.backward()
    assert torch.equal(last.grad, sr.grad)  # type: ignore[arg-type]


def test_not_a_number_is_not_hidden() -> None:
    x, targets = pair((1, 3, 16, 16), torch.float32)
    x[0, 0, 8, 8] = torch.nan
    assert weighted_losses(x, targets, [1.0, 0.0], [0.0, 0.0])[0].isnan()
    assert weighted_losses(x, targets, [0.0, 0.0], [1.0, 0.0])[0].isnan()


def test_other_shapes_and_too_small_images_are_refused() -> None:
    x, targets = pair((1, 3, 16, 16), torch.float32)
    with pytest.raises(ValueError, match="different shapes"):
        weighted_losses(x, [targets[0][..., 1:]], [1.0], [0.0])
    with pytest.raises(ValueError, match="smaller than SSIM"):
        weighted_losses(x[..., :10], [targets[0][..., :10]], [1.0], [0.5])


def test_a_gradient_in_float16_is_scaled_with_the_loss_before_it_is_rounded() -> None:
    """The gradient of one of a million values is below what float16 can hold."""
    x, targets = pair((8, 3, 128, 128), torch.float32)
    found = []
    for dtype in (torch.float16, torch.float32):
        sr = x.half().to(dtype).requires_grad_()
        loss, _ = weighted_losses(sr, targets, [1.0, 0.0], [0.0, 1.0])
        (2.0**16 * loss).backward()
        assert sr.grad.dtype == dtype
        found.append(sr.grad.float())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-7)
