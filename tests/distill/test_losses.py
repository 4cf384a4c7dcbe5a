"""kd_lightning.distill.losses."""

import re

import numpy as np
import pytest
import pytorch_msssim
import scipy.ndimage
import skimage.color
import skimage.metrics
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from kd_lightning.distill.losses import (
    DistillationLoss,
    FourierLoss,
    GradientLoss,
    HybridLoss,
    LumaPsnrLoss,
    make_loss,
)
from kd_lightning.errors import UserError


@pytest.fixture
def images(photo_tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(sr, hr, teacher): crops of a photograph with different errors."""
    hr = photo_tensor[..., 60:108, 200:248]
    wave = torch.linspace(0, 40, hr.numel()).sin().view_as(hr)
    return (hr + 0.05 * wave).clamp(0, 1), hr, (hr * 0.98)


def reference(sr: Tensor, target: Tensor, alpha: float) -> Tensor:
    l1 = torch.nn.functional.l1_loss(sr, target)
    return alpha * l1 + (1 - alpha) * (1 - pytorch_msssim.ssim(sr, target, data_range=1))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.85, 1.0])
def test_hybrid_equals_pytorch_msssim(images: tuple[Tensor, ...], alpha: float) -> None:
    sr, hr, _ = images
    loss = HybridLoss(alpha)(sr, hr)["hybrid"]
    torch.testing.assert_close(loss, reference(sr, hr, alpha), atol=1e-6, rtol=1e-4)


def test_gradients_equal_those_of_pytorch_msssim(images: tuple[Tensor, ...]) -> None:
    sr, hr, _ = (image.double() for image in images)
    grads = []
    for loss in (lambda x: HybridLoss(0.5)(x, hr)["hybrid"], lambda x: reference(x, hr, 0.5)):
        x = sr.clone().requires_grad_()
        loss(x).backward()
        grads.append(x.grad)
    # pytorch_msssim's window is a float32 one
    torch.testing.assert_close(grads[0], grads[1], atol=1e-7, rtol=1e-3)


def test_gradients_equal_finite_differences(images: tuple[Tensor, ...]) -> None:
    sr, hr, _ = (image[..., :13, :12].double() for image in images)
    loss = HybridLoss(0.0)
    assert torch.autograd.gradcheck(
        lambda x: loss.double()(x, hr)["hybrid"], sr.requires_grad_(), eps=1e-6, atol=1e-6
    )


def test_fourier_term_equals_numpys_transform(images: tuple[Tensor, ...]) -> None:
    sr, hr, _ = images
    spectrum = np.fft.rfft2((sr - hr).double().numpy())
    expected = (np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()) / 2
    assert FourierLoss()(sr, hr).item() == pytest.approx(expected, rel=1e-4)


def test_gradient_term_equals_scipys_sobel(images: tuple[Tensor, ...]) -> None:
    """scipy's filter is 8 times the normalised one; "nearest" repeats the border as kornia does."""
    sr, hr, _ = images
    error = (sr - hr).double().numpy()
    both = [
        scipy.ndimage.sobel(channel, axis=axis, mode="nearest") / 8
        for channel in error[0]
        for axis in (0, 1)
    ]
    assert GradientLoss()(sr, hr).item() == pytest.approx(np.abs(both).mean(), rel=1e-4)


def configured(**settings: object) -> DictConfig:
    target = {"_target_": "kd_lightning.distill.losses.DistillationLoss"}
    return OmegaConf.create({**target, "alpha": 0.85, "teacher_weight": 0.25, **settings})


def test_luma_psnr_loss_is_minus_the_psnr_of_each_image_in_bels(
    images: tuple[Tensor, ...],
) -> None:
    sr, hr, teacher = images
    pairs = torch.cat([sr, teacher]), torch.cat([hr, hr])
    y = [skimage.color.rgb2ycbcr(image.permute(1, 2, 0).numpy())[..., 0] for image in sr]
    truth = skimage.color.rgb2ycbcr(hr[0].permute(1, 2, 0).numpy())[..., 0]
    first = skimage.metrics.peak_signal_noise_ratio(truth, y[0], data_range=255)
    loss = LumaPsnrLoss(floor=1e-12)
    torch.testing.assert_close(loss(sr, hr).item(), -first / 10, atol=1e-4, rtol=0)
    both = loss(*pairs)
    torch.testing.assert_close(both, (loss(sr, hr) + loss(teacher, hr)) / 2)


def test_luma_psnr_loss_hardly_sees_errors_below_its_floor(images: tuple[Tensor, ...]) -> None:
    _, hr, _ = images
    loss = LumaPsnrLoss(floor=5e-5)
    hidden, seen = (float(loss(hr + level / 255, hr) - loss(hr, hr)) for level in (0.1, 10))
    assert hidden < 0.001 and seen > 1


def test_luma_psnr_loss_without_a_floor_is_refused() -> None:
    with pytest.raises(UserError, match="floor=0 of LumaPsnrLoss must be above 0"):
        LumaPsnrLoss(floor=0)


def test_extra_terms_are_added_to_each_hybrid_with_their_weight(
    images: tuple[Tensor, ...],
) -> None:
    sr, hr, teacher = images
    gradient = {"_target_": "kd_lightning.distill.losses.GradientLoss", "weight": 0.5}
    mse = {"_target_": "torch.nn.MSELoss", "weight": 2, "reduction": "sum"}
    loss = make_loss(configured(extra_terms={"gradient": gradient, "mse": mse}))
    terms = loss(sr, hr, teacher)
    expected = 0
    for share, target in ((0.75, hr), (0.25, teacher)):
        squares = (sr - target).square().sum()
        extra = 0.5 * GradientLoss()(sr, target) + 2 * squares
        expected = expected + share * (reference(sr, target, 0.85) + extra)
    torch.testing.assert_close(terms["loss"], expected, atol=1e-5, rtol=1e-4)
    assert {"hr/gradient", "teacher/gradient", "hr/mse", "teacher/mse"} <= set(terms)


def test_loss_without_extra_terms_is_the_hybrid_alone(images: tuple[Tensor, ...]) -> None:
    loss = make_loss(configured(extra_terms={}))
    assert torch.equal(loss(*images)["loss"], DistillationLoss(0.85, 0.25)(*images)["loss"])


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "torch.nn.MSELoss"}, "has no weight"),
        ({"weight": 1.0}, "has no _target_"),
        ({"_target_": "torch.nn.MSELoss", "weight": -0.1}, "weight=-0.1 is below 0"),
        ({"_target_": "torch.nn.NoSuchLoss", "weight": 1.0}, "there is no torch.nn.NoSuchLoss"),
    ],
)
def test_wrong_extra_term_is_refused_by_key(node: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as error:
        make_loss(configured(extra_terms={"mine": node}))
    assert "loss.extra_terms" in str(error.value)


class Perceptual(nn.Module):
    """A term with weights, dropout and statistics of its own."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.whole = whole

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        difference = (self.net(sr) - self.net(target)).abs()
        return difference.mean(dim=(1, 2, 3)) if self.whole else difference.mean()


def test_an_extra_term_measures_and_does_not_learn(images: tuple[Tensor, ...]) -> None:
    sr, hr, _ = images
    term = Perceptual()
    before = {name: value.clone() for name, value in term.state_dict().items()}
    loss = DistillationLoss(teacher_weight=0, extra_terms={"perceptual": (1.0, term)}).train()
    values = [loss(sr.requires_grad_(), hr)["hr/perceptual"] for _ in range(2)]
    assert torch.equal(*values)  # no dropout
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    for name, value in term.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_extra_term_of_a_number_for_each_image_is_refused(images: tuple[Tensor, ...]) -> None:
    sr, hr = (torch.cat([image, image]) for image in images[:2])
    loss = DistillationLoss(teacher_weight=0, extra_terms={"mine": (1.0, Perceptual(whole=True))})
    with pytest.raises(UserError, match=r"extra_terms.mine: returned \(\d+,\), expected a scalar"):
        loss(sr, hr)


def squared(sr: Tensor, target: Tensor, power: int = 2) -> Tensor:
    """A term that is a function."""
    return (sr - target).abs().pow(power).mean()


class Called:
    """A term that is a class, and no module."""

    def __call__(self, sr: Tensor, target: Tensor) -> Tensor:
        return squared(sr, target)


class Mute:
    """No term."""


def number(sr: Tensor, target: Tensor) -> float:
    return 1.0


def nothing(sr: Tensor, target: Tensor) -> None:
    pass


def test_functions_are_terms_as_modules_are(images: tuple[Tensor, ...]) -> None:
    terms = {
        "function": {"_target_": f"{__name__}.squared", "weight": 1, "power": 2},
        "object": {"_target_": f"{__name__}.Called", "weight": 1},
        "module": {"_target_": "torch.nn.MSELoss", "weight": 1},
    }
    found = make_loss(configured(extra_terms=terms))(*images)
    torch.testing.assert_close(found["hr/function"], found["hr/module"])
    torch.testing.assert_close(found["hr/object"], found["hr/module"])


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("mine", "Mute", "mine: a Mute is no function of"),
        ("mine", "number", "mine: returned a float, expected a scalar tensor"),
        ("mine", "nothing", "mine: returned a NoneType, expected a scalar tensor"),
        ("type", "squared", "type: torch has no room for this name"),
        ("training", "squared", "training: torch has no room for this name"),
    ],
)
def test_what_is_no_term_is_refused_by_key(
    images: tuple[Tensor, ...], name: str, target: str, said: str
) -> None:
    terms = {name: {"_target_": f"{__name__}.{target}", "weight": 1}}
    with pytest.raises(UserError, match=rf"^loss\.extra_terms\.{said}"):
        make_loss(configured(extra_terms=terms))(*images)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("squared", "does not take its arguments"),
        ("Called", "gives a Called; make it a torch.nn.Module"),
    ],
)
def test_a_loss_that_is_no_module_is_refused(target: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_loss(OmegaConf.create({"_target_": f"{__name__}.{target}"}))


@pytest.mark.parametrize("name", ["l1", "ssim", "hybrid"])
def test_an_extra_term_never_takes_the_name_of_another(name: str) -> None:
    with pytest.raises(UserError, match=f"loss.extra_terms.{name}"):
        DistillationLoss(extra_terms={name: (1.0, Perceptual())})


def test_loss_is_zero_when_identical(images: tuple[Tensor, ...]) -> None:
    _, hr, _ = images
    assert DistillationLoss(0.85, 0.5)(hr, hr, hr)["loss"].item() == pytest.approx(0, abs=1e-6)


def test_teacher_weight_blends_the_two_targets(images: tuple[Tensor, ...]) -> None:
    sr, hr, teacher = images
    loss = DistillationLoss(0.85, 0.25)(sr, hr, teacher)["loss"]
    expected = 0.75 * reference(sr, hr, 0.85) + 0.25 * reference(sr, teacher, 0.85)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-4)


def test_teacher_weight_one_ignores_the_ground_truth(images: tuple[Tensor, ...]) -> None:
    sr, hr, teacher = images
    loss = DistillationLoss(0.85, 1.0)
    assert torch.equal(loss(sr, hr, teacher)["loss"], loss(sr, 1 - hr, teacher)["loss"])


def test_teacher_weight_zero_needs_no_teacher(images: tuple[Tensor, ...]) -> None:
    sr, hr, teacher = images
    loss = DistillationLoss(0.85, 0.0)
    assert torch.equal(loss(sr, hr)["loss"], loss(sr, hr, teacher)["loss"])


def test_missing_teacher_output_is_named_with_its_remedy(images: tuple[Tensor, ...]) -> None:
    sr, hr, _ = images
    with pytest.raises(UserError, match=r"loss\.teacher_weight=0"):
        DistillationLoss(0.85, 0.5)(sr, hr)


def test_every_term_is_named(images: tuple[Tensor, ...]) -> None:
    sr, hr, teacher = images
    terms = DistillationLoss(0.85, 0.5)(sr, hr, teacher)
    assert set(terms) == {
        *("hr/l1", "hr/ssim", "hr/hybrid", "teacher/l1", "teacher/ssim", "teacher/hybrid"),
        "loss",
    }


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_shares_outside_zero_to_one_are_refused_by_key(value: float) -> None:
    with pytest.raises(UserError, match=r"loss\.alpha"):
        DistillationLoss(alpha=value)
    with pytest.raises(UserError, match=r"loss\.teacher_weight"):
        DistillationLoss(teacher_weight=value)
