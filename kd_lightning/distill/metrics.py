"""Image scores as a torchmetrics metric: the protocol's, and a run's own."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torchmetrics
from omegaconf import DictConfig
from torch import Tensor, nn

from kd_lightning import quality
from kd_lightning.config import part
from kd_lightning.errors import UserError
from kd_lightning.quality import METRICS, Metric


class ImageScores(torchmetrics.Metric):
    """Means over whole images of `quality.scores`, by name; images weigh equally.

    Args:
        scale: HR pixels per LR pixel.
        metrics: what is scored, by name.
    """

    full_state_update = False
    images: Tensor

    def __init__(self, scale: int, metrics: Mapping[str, Metric] = METRICS) -> None:
        super().__init__()
        self.scale = scale
        self.metrics = dict(metrics)
        self.total = torch.zeros((), dtype=torch.long)  # images of all processes
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in self.metrics:
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state(f"sum_{name}", zero, dist_reduce_fx="sum")

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """Add images (B,3,H,W): `sr` unclamped output, `hr` ground truth in [0, 1]."""
        self.images += len(hr)
        for name, values in quality.scores(sr, hr, self.scale, self.metrics).items():
            total = getattr(self, f"sum_{name}")
            total += values.double().sum()

    def compute(self) -> dict[str, Tensor]:
        """Name -> mean over the images of all processes, float32 scalars; NaN without any."""
        self.total = self.images.clone()
        sums = {name: getattr(self, f"sum_{name}") for name in self.metrics}
        return {name: (total / self.images).float() for name, total in sums.items()}

    def means(self) -> dict[str, Tensor]:
        """`compute`, or nothing where no process has an image. All processes must ask."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The ``compute`` method")  # no image here
            values = self.compute()
        return values if self.total > 0 else {}


def log_name(metric: str) -> str:
    """The metric's name in logs, after `val/` or `test/`: RGB-SSIM is `ssim`."""
    return metric.removesuffix("_rgb")


def make_metrics(cfg: DictConfig) -> dict[str, Metric]:
    """METRICS, and those of `cfg.extra`: NAME: {_target_, label, digits}.

    A target is a function or a class of objects that take `sr` (rounded to 8 bit) and `hr`, both
    (B,3,H,W) float32 in [0, 1], and return one number for each image.

    Raises:
        UserError: a name that the protocol has, or no `_target_`.
    """
    found = dict(METRICS)
    for name, node in (cfg.get("extra") or {}).items():
        key = f"metrics.extra.{name}"
        if log_name(str(name)) in map(log_name, found):
            raise UserError(f"{key}: the protocol has a metric of this name; give another")
        if "_target_" not in node:
            raise UserError(f"{key} has no _target_: name a function or class of (sr, hr)")
        function = _scorer(str(name), part(node, "metrics.extra"))
        found[str(name)] = Metric(function, node.get("label", name), int(node.get("digits", 4)))
    return found


def _scorer(name: str, function: Any) -> Any:
    """`function` of (sr, hr) as METRICS has them, on the device of the images."""

    @torch.no_grad()
    def score(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
        if isinstance(function, nn.Module):
            function.to(sr.device).eval()
        values = torch.as_tensor(function(sr.contiguous(), hr.contiguous()))
        if values.numel() != len(sr):
            raise UserError(
                f"metrics.extra.{name}: returned {tuple(values.shape)} for {len(sr)} images; "
                "return one number for each image"
            )
        return values.reshape(len(sr))

    return score
