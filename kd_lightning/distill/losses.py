"""Loss terms of distillation by outputs.

Orientation: `alpha` weighs L1, so alpha = 1 is pure L1 and alpha = 0 pure SSIM. Other projects
use the opposite one.
"""

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.quality import ssim


class HybridLoss(nn.Module):
    """`alpha * L1 + (1 - alpha) * (1 - SSIM) + gradient_weight * L1 of the gradients`, mean over
    the batch.

    Zhao et al. 2017, "Loss Functions for Image Restoration with Neural Networks", with
    single-scale SSIM. The gradients are Sobel's, in both directions.

    Args:
        alpha: share of L1, in [0, 1].
        gradient_weight: 0 or more.
    """

    def __init__(self, alpha: float = 0.85, gradient_weight: float = 0.0) -> None:
        super().__init__()
        self.alpha = _share("loss.alpha", alpha)
        if gradient_weight < 0:
            raise UserError(f"loss.gradient_weight={gradient_weight} is below 0")
        self.gradient_weight = gradient_weight

    def forward(self, sr: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Terms by name for (B,3,H,W) images in [0, 1], H and W at least 11: `l1`, `ssim`
        (as 1 - SSIM; absent when alpha is 1), `gradient` (absent when gradient_weight is 0) and
        their weighted sum `hybrid`, float32 scalars."""
        error = sr.float() - target.float()
        terms = {"l1": error.abs().mean()}
        hybrid = self.alpha * terms["l1"]
        if self.alpha < 1:
            terms["ssim"] = 1 - ssim(sr, target).mean()
            hybrid = hybrid + (1 - self.alpha) * terms["ssim"]
        if self.gradient_weight > 0:
            terms["gradient"] = gradient(error).abs().mean()
            hybrid = hybrid + self.gradient_weight * terms["gradient"]
        return terms | {"hybrid": hybrid}


def gradient(image: Tensor) -> Tensor:
    """Normalised Sobel gradients (B,C,2,H,W) of (B,C,H,W): x, then y."""
    from kornia.filters import spatial_gradient  # seconds to import, and rarely needed

    return spatial_gradient(image)


class DistillationLoss(nn.Module):
    """`(1 - w) * hybrid(sr, hr) + w * hybrid(sr, teacher)`.

    The teacher's output as a soft target beside the ground truth (Hinton et al. 2015,
    "Distilling the Knowledge in a Neural Network", carried over to images).

    Args:
        alpha: share of L1 in each hybrid term, in [0, 1].
        teacher_weight: w, in [0, 1]; 0 trains without a teacher, 1 on its output alone.
        gradient_weight: of the L1 between gradients in each hybrid term, 0 or more.
    """

    def __init__(
        self, alpha: float = 0.85, teacher_weight: float = 0.5, gradient_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.hybrid = HybridLoss(alpha, gradient_weight)
        self.teacher_weight = _share("loss.teacher_weight", teacher_weight)

    def forward(self, sr: Tensor, hr: Tensor, teacher: Tensor | None = None) -> dict[str, Tensor]:
        """All terms by name (`hr/l1`, `teacher/ssim`, ...) and their weighted sum `loss`.

        Args:
            sr, hr, teacher: (B,3,H,W) in [0, 1], `sr` unclamped; `teacher` may be None when
                teacher_weight is 0.
        """
        terms: dict[str, Tensor] = {}
        loss = sr.new_zeros((), dtype=hr.dtype)
        weighted = {"hr": (1 - self.teacher_weight, hr), "teacher": (self.teacher_weight, teacher)}
        for name, (weight, target) in weighted.items():
            if weight == 0:
                continue
            if target is None:
                raise UserError(
                    "loss.teacher_weight > 0 but the batch holds no teacher output: "
                    "name a teacher (teacher=...) or set loss.teacher_weight=0"
                )
            named = self.hybrid(sr, target)
            loss = loss + weight * named["hybrid"]
            terms |= {f"{name}/{term}": value for term, value in named.items()}
        return terms | {"loss": loss}


def _share(key: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UserError(f"{key}={value} is outside [0, 1]")
    return float(value)
