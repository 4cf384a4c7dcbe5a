"""The weights that ship with the package keep what their README promises."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kd_lightning import quality
from kd_lightning.deploy.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve, upscale
from kd_lightning.models.network import Network
from kd_lightning.models.teacher import BUNDLED


def load(name: str) -> Network:
    network, _ = load_artifact(BUNDLED / name)
    assert isinstance(network, Network)
    return network


@torch.no_grad()
def set5_scores(folder: Path, restore: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Means over Set5 by the protocol, LR by Pillow itself."""
    rows = []
    for path in sorted((folder / "set5" / "HR").glob("*.png")):
        image = Image.open(path).convert("RGB")
        image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
        hr, lr = (
            torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
            for picture in (image, small)
        )
        rows.append(quality.scores(restore(lr), hr, 2))
    assert len(rows) == 5
    return {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}


def test_bicubic_is_the_published_baseline(shared: Path) -> None:
    scores = set5_scores(shared, lambda lr: upscale(lr, 2))
    assert scores["psnr_y"] == pytest.approx(33.67, abs=0.02)
    assert scores["ssim_rgb"] == pytest.approx(0.9088, abs=5e-4)


@pytest.mark.slow
def test_bundled_teacher_beats_bicubic_by_2_5_db(shared: Path) -> None:
    teacher = load("swinir_small.safetensors")
    scores = set5_scores(shared, lambda lr: super_resolve(teacher, lr))
    assert scores["psnr_y"] >= 33.67 + 2.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "psnr_y", "ssim_rgb"),
    [
        ("student_cnn", 77_379, 36.8, 0.938),
        ("student_fast", 77_000, 37.4, 0.940),
        ("student_tiny", 20_000, 37.0, 0.937),
    ],
)
def test_shipped_student_keeps_its_promise(
    shared: Path, name: str, parameters: int, psnr_y: float, ssim_rgb: float
) -> None:
    """At least what experiments/README.md says, and the scores that the file itself states."""
    student, metadata = load_artifact(BUNDLED / f"{name}.safetensors")
    assert sum(parameter.numel() for parameter in student.parameters()) <= parameters
    scores = set5_scores(shared, lambda lr: super_resolve(student, lr))
    assert scores["psnr_y"] >= psnr_y
    assert scores["ssim_rgb"] >= ssim_rgb
    assert scores == pytest.approx(metadata["metrics"]["set5"]["student"], abs=2e-3)


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_weights_say_how_they_were_made(path: Path) -> None:
    _, metadata = load_artifact(path)
    assert {"metrics", "config_sha256", "loss", "steps", "data", "licence"} <= metadata.keys()
