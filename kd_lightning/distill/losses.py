"""Loss terms of distillation by outputs.

Orientation: `alpha` weighs L1, so alpha = 1 is pure L1 and alpha = 0 pure SSIM. Other projects
use the opposite one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from kd_lightning.config import part
from kd_lightning.distill.one_pass import weighted_losses
from kd_lightning.errors import UserError
from kd_lightning.quality import luma

TERMS = ("l1", "ssim", "hybrid")  # of HybridLoss, as they are logged
WeightedTerms = Mapping[str, tuple[float, Callable[..., Tensor]]]


class HybridLoss(nn.Module):
    """`alpha * L1 + (1 - alpha) * (1 - SSIM)`, mean over the batch.

    Zhao et al. 2017, "Loss Functions for Image Restoration with Neural Networks", with
    single-scale SSIM.

    Args:
        alpha: share of L1, in [0, 1].
    """

    def __init__(self, alpha: float = 0.85) -> None:
        super().__init__()
        self.alpha = _share("loss.alpha", alpha)

    def forward(self, sr: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Terms by name for (B,3,H,W) images in [0, 1], H and W at least 11: `l1`, `ssim`
        (as 1 - SSIM; absent when alpha is 1) and their weighted sum `hybrid`, float32 scalars.
        `hybrid` alone has a gradient, with respect to `sr`."""
        hybrid, (terms,) = self.weighted(sr, [(1.0, target)])
        return terms | {"hybrid": hybrid}

    def weighted(
        self, sr: Tensor, targets: Sequence[tuple[float, Tensor]]
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """The sum of weight * hybrid over (weight, target), and the terms of each target."""
        weights, images = zip(*targets, strict=True)
        l1 = [weight * self.alpha for weight in weights]
        ssim = [weight * (1 - self.alpha) for weight in weights]
        loss, values = weighted_losses(sr, images, l1, ssim)
        terms = [{"l1": values[number, 0]} for number in range(len(images))]
        for number, named in enumerate(terms):
            named["hybrid"] = self.alpha * named["l1"]
            if self.alpha < 1:
                named["ssim"] = values[number, 1]
                named["hybrid"] = named["hybrid"] + (1 - self.alpha) * named["ssim"]
        return loss, terms


class GradientLoss(nn.Module):
    """L1 between normalised Sobel gradients in both directions, mean over the batch."""

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """A float32 scalar for (B,3,H,W) images."""
        from kornia.filters import spatial_gradient  # seconds to import, and rarely needed

        return spatial_gradient(sr.float() - target.float()).abs().mean()


class FourierLoss(nn.Module):
    """L1 between the real and imaginary parts of the 2-D Fourier transforms, mean over the batch.

    Cho et al. 2021, "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", equation 5;
    not normalised, as there, so that useful weights are about 0.05.
    """

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """A float32 scalar for (B,3,H,W) images."""
        spectrum = torch.fft.rfft2(sr.float() - target.float())
        return torch.view_as_real(spectrum).abs().mean()


class LumaPsnrLoss(nn.Module):
    """Minus the PSNR of luma in bels, of each image by itself: an error counts in proportion to
    what its image has, so that images that lack little are not drowned by those beyond repair.

    Chen et al. 2021, "HINet: Half Instance Normalization Network for Image Restoration",
    equation 4, there of RGB and in decibels.

    Args:
        floor: a mean squared error of luma in [0, 1], added to each: errors well below it hardly
            count. Above 0.
    """

    def __init__(self, floor: float = 5e-5) -> None:
        super().__init__()
        if floor <= 0:
            raise UserError(f"loss: floor={floor} of LumaPsnrLoss must be above 0")
        self.floor = floor

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """A float32 scalar for (B,3,H,W) images: the mean of log10(squared error + floor)."""
        squares = (luma(sr.float()) - luma(target.float())).square().mean(dim=(1, 2, 3))
        return (squares + self.floor).log10().mean()


class Function(nn.Module):
    """A term that is a function, or an object that is called like one.

    Raises:
        UserError: by its `key`, one that cannot be called.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], key: str) -> None:
        super().__init__()
        if not callable(function):
            kind = type(function).__name__
            raise UserError(f"{key}: a {kind} is no function of (sr, target); make it one")
        self.function = function

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        return self.function(sr, target)


class DistillationLoss(nn.Module):
    """`(1 - w) * hybrid(sr, hr) + w * hybrid(sr, teacher)`, extra terms added to each hybrid.

    The teacher's output as a soft target beside the ground truth (Hinton et al. 2015,
    "Distilling the Knowledge in a Neural Network", carried over to images).

    Args:
        alpha: share of L1 in each hybrid term, in [0, 1].
        teacher_weight: w, in [0, 1]; 0 trains without a teacher, 1 on its output alone.
        extra_terms: name -> (weight of 0 or more, module or function of (sr, target) -> scalar).
            They measure and do not learn: their parameters are frozen, and they stay in eval mode.
    """

    def __init__(
        self,
        alpha: float = 0.85,
        teacher_weight: float = 0.5,
        extra_terms: WeightedTerms | None = None,
    ) -> None:
        super().__init__()
        self.hybrid = HybridLoss(alpha)
        self.teacher_weight = _share("loss.teacher_weight", teacher_weight)
        self.extra_weights: dict[str, float] = {}
        self.extra_terms = nn.ModuleDict()
        for name, (weight, term) in (extra_terms or {}).items():
            if weight < 0:
                raise UserError(f"loss.extra_terms.{name}.weight={weight} is below 0")
            if name in TERMS:
                raise UserError(f"loss.extra_terms.{name}: the hybrid has a term of this name")
            if not name or "." in name or hasattr(self.extra_terms, name):
                raise UserError(
                    f"loss.extra_terms.{name}: torch has no room for this name; give another"
                )
            module = (
                term if isinstance(term, nn.Module) else Function(term, f"loss.extra_terms.{name}")
            )
            self.extra_weights[name] = float(weight)
            self.extra_terms[name] = module.requires_grad_(False).eval()

    @property
    def uses_teacher(self) -> bool:
        """Whether crops must have the teacher's output, which a run leaves out otherwise; a class
        derived from this one gets it unless it says that it does not."""
        return type(self) is not DistillationLoss or self.teacher_weight > 0

    def train(self, mode: bool = True) -> "DistillationLoss":
        super().train(mode)
        self.extra_terms.eval()
        return self

    def forward(self, sr: Tensor, hr: Tensor, teacher: Tensor | None = None) -> dict[str, Tensor]:
        """All terms by name (`hr/l1`, `teacher/ssim`, ...) and their weighted sum `loss`, which
        has a gradient.

        Args:
            sr: the student's output, (B,3,H,W), unclamped.
            hr: the ground truth, of the same shape, in [0, 1].
            teacher: the teacher's output, likewise; None will do when teacher_weight is 0.
        """
        shares = {"hr": (1 - self.teacher_weight, hr), "teacher": (self.teacher_weight, teacher)}
        targets: dict[str, tuple[float, Tensor]] = {}
        for name, (weight, target) in shares.items():
            if weight and target is None:
                raise UserError(
                    "loss.teacher_weight > 0 but the batch holds no teacher output: "
                    "name a teacher (teacher=...) or set loss.teacher_weight=0"
                )
            if weight and target is not None:
                targets[name] = weight, target
        loss, found = self.hybrid.weighted(sr, list(targets.values()))
        terms: dict[str, Tensor] = {}
        for (name, (weight, target)), named in zip(targets.items(), found, strict=True):
            for extra, term in self.extra_terms.items():
                named[extra] = scalar(term(sr, target), f"loss.extra_terms.{extra}: returned")
                loss = loss + weight * self.extra_weights[extra] * named[extra]
            terms |= {f"{name}/{term}": value for term, value in named.items()}
        return terms | {"loss": loss}


def scalar(value: Any, what: str) -> Tensor:
    """`value`, if it is a tensor of one number; else UserError that begins with `what`."""
    if not isinstance(value, Tensor):
        raise UserError(f"{what} a {type(value).__name__}, expected a scalar tensor")
    if value.numel() != 1:
        raise UserError(f"{what} {tuple(value.shape)}, expected a scalar")
    return value


def checked_terms(terms: Any, loss: nn.Module) -> dict[str, Tensor]:
    """What `loss` returned: scalars by name, `loss` among them.

    Raises:
        UserError: it is something else.
    """
    name = f"loss: {type(loss).__name__}"
    if not isinstance(terms, dict) or "loss" not in terms:
        kind = f"a {type(terms).__name__}" + " without `loss`" * isinstance(terms, dict)
        raise UserError(
            f"{name} returned {kind}; return a dict of scalar tensors by name, in which `loss` is "
            "what is minimised"
        )
    return {key: scalar(value, f"{name} returned as {key!r}") for key, value in terms.items()}


def uses_teacher(loss: nn.Module) -> bool:
    """Whether training crops must have the teacher's output: yes, where a loss does not say."""
    return bool(getattr(loss, "uses_teacher", True))


def make_loss(cfg: DictConfig) -> nn.Module:
    """The loss of a configuration, its `extra_terms` built: NAME: {weight, _target_}.

    Raises:
        UserError: a term without a weight or `_target_`, or a share outside [0, 1].
    """
    terms = {}
    for name, node in (cfg.get("extra_terms") or {}).items():
        if missing := {"weight", "_target_"} - set(node):
            raise UserError(f"loss.extra_terms.{name} has no {' and no '.join(sorted(missing))}")
        terms[str(name)] = node["weight"], part(node, "loss.extra_terms")
    make = instantiate({k: v for k, v in cfg.items() if k != "extra_terms"}, _partial_=True)
    try:
        loss = make(extra_terms=terms) if terms else make()
    except TypeError as error:
        raise UserError(f"loss: {cfg['_target_']} does not take its arguments: {error}") from error
    if not isinstance(loss, nn.Module):
        raise UserError(
            f"loss: {cfg['_target_']} gives a {type(loss).__name__}; make it a torch.nn.Module, or "
            "a term of loss.extra_terms"
        )
    return loss


def _share(key: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UserError(f"{key}={value} is outside [0, 1]")
    return float(value)
