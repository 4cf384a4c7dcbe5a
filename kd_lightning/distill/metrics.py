"""The protocol's image scores as a torchmetrics metric."""

import torch
from torch import Tensor
from torchmetrics import Metric

from kd_lightning import quality

NAMES = ("ssim_rgb", "psnr_y", "ssim_y")


class ImageScores(Metric):
    """Means over whole images of `quality.scores`, by name; images weigh equally.

    Args:
        scale: HR pixels per LR pixel.
    """

    full_state_update = False
    images: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in NAMES:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """Add images (B,3,H,W): `sr` unclamped output, `hr` ground truth in [0, 1]."""
        self.images += len(hr)
        for name, values in quality.scores(sr, hr, self.scale).items():
            setattr(self, name, getattr(self, name) + values.double().sum())

    def compute(self) -> dict[str, Tensor]:
        return {name: (getattr(self, name) / self.images).float() for name in NAMES}
