"""Scores of whole images."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from kd_lightning import quality
from kd_lightning.distill.metrics import ImageScores, make_metrics
from kd_lightning.errors import UserError
from kd_lightning.quality import METRICS


def mean_error(sr: Tensor, hr: Tensor, power: float = 1.0) -> Tensor:
    """A metric of a user's own, as a function."""
    return (sr - hr).abs().pow(power).mean(dim=(1, 2, 3))


class LargestError(nn.Module):
    """A metric of a user's own, as a class; (B,1,1,1) as LPIPS returns."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().amax(dim=(1, 2, 3), keepdim=True)


def flat_error(sr: Tensor, hr: Tensor) -> Tensor:
    """As `mean_error`, of flat views."""
    return (sr.view(len(sr), -1) - hr.view(len(hr), -1)).abs().mean(dim=1)


def wrong(sr: Tensor, hr: Tensor) -> Tensor:
    """Not one number for each image."""
    return sr - hr


HERE = "tests.distill.test_metrics"
EXTRA = {
    "error": {"_target_": f"{HERE}.mean_error", "power": 2.0, "label": "MSE", "digits": 6},
    "largest": {"_target_": f"{HERE}.LargestError"},
}


def test_images_weigh_equally_whatever_the_batches(photo_tensor: Tensor) -> None:
    hr = photo_tensor[..., :64, :64].repeat(3, 1, 1, 1)
    sr = hr + torch.tensor([0.01, 0.02, 0.05])[:, None, None, None]
    scores = ImageScores(2)
    scores.update(sr[:2], hr[:2])
    scores.update(sr[2:], hr[2:])
    for name, values in quality.scores(sr, hr, 2).items():
        torch.testing.assert_close(scores.compute()[name], values.mean().float())


def test_own_metrics_stand_beside_the_protocols(photo_tensor: Tensor) -> None:
    metrics = make_metrics(OmegaConf.create({"extra": EXTRA}))
    assert [*metrics] == [*METRICS, "error", "largest"]
    assert metrics["error"].label == "MSE"
    assert metrics["largest"].label == "largest"
    assert metrics["error"].text(0.25) == "0.250000"
    hr = photo_tensor[..., :32, :32] * 0.9
    scores = ImageScores(2, metrics)
    scores.update(hr + 0.3 / 255, hr)  # rounded to 8 bit first
    expected = (hr * 255 + 0.3).round() / 255 - hr
    torch.testing.assert_close(scores.compute()["error"], expected.square().mean())
    torch.testing.assert_close(scores.compute()["largest"], expected.abs().max())


def test_own_metrics_get_contiguous_images(photo_tensor: Tensor) -> None:
    extra = {"flat": {"_target_": f"{HERE}.flat_error"}}
    scores = ImageScores(2, make_metrics(OmegaConf.create({"extra": extra})))
    hr = photo_tensor[..., :32, :32].contiguous(memory_format=torch.channels_last)
    scores.update((hr * 0.9).contiguous(memory_format=torch.channels_last), hr)
    assert 0 < scores.compute()["flat"] < 0.1


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"psnr_y": EXTRA["error"]}, "metrics.extra.psnr_y: the protocol has"),
        ({"mine": {"label": "x"}}, "metrics.extra.mine has no _target_"),
        ({"mine": {"_target_": f"{HERE}.nothing"}}, f"there is no {HERE}.nothing"),
    ],
)
def test_wrong_metric_is_refused_by_key(extra: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_metrics(OmegaConf.create({"extra": extra}))


def test_metric_that_is_not_one_number_an_image_is_named(photo_tensor: Tensor) -> None:
    metrics = make_metrics(OmegaConf.create({"extra": {"mine": {"_target_": f"{HERE}.wrong"}}}))
    image = photo_tensor[..., :32, :32]
    with pytest.raises(UserError, match=r"metrics\.extra\.mine: returned \(1, 3, 32, 32\)"):
        ImageScores(2, metrics).update(image, image)


@pytest.mark.parametrize("name", ["ssim", "ssim_rgb", "psnr_y", "ssim_y"])
def test_no_metric_takes_the_name_under_which_the_protocol_logs_another(name: str) -> None:
    extra = OmegaConf.create({"extra": {name: EXTRA["largest"]}})
    with pytest.raises(UserError, match=f"metrics.extra.{name}: the protocol has"):
        make_metrics(extra)
