"""A package outside the repository brings a student, a loss term, a degradation and a metric of its
own, one class and one yaml each, from the images to an enhanced file."""

import csv
import importlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve
from tests.runs import ROOT

pytestmark = pytest.mark.slow

OWN = ("--import", "stranger.student")

FILES = {
    "stranger/__init__.py": "",
    "stranger/student.py": '''
        import torch
        from torch import nn

        class Narrow(nn.Module):
            """Adds what three layers see to the interpolated image."""

            takes_lr, radius, multiple_of = False, 3, 1

            def __init__(self, scale: int, width: int) -> None:
                super().__init__()
                self.scale = scale
                self.body = nn.Sequential(
                    nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.1),
                    nn.Conv2d(width, width, 3, padding=1, groups=2), nn.LeakyReLU(0.1),
                    nn.Conv2d(width, 3, 3, padding=1),
                )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + self.body(x)
    ''',
    "stranger/loss.py": '''
        import torch
        from torch import nn

        class Charbonnier(nn.Module):
            def __init__(self, epsilon: float) -> None:
                super().__init__()
                self.epsilon = epsilon

            def forward(self, sr: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
                return ((sr - target).square() + self.epsilon**2).sqrt().mean()
    ''',
    "stranger/degradation.py": '''
        import numpy as np

        class Speckle:
            """Every scale-th pixel, some of them brighter or darker."""

            versions, seed = 2, 5

            def __init__(self, scale: int, levels: int) -> None:
                self.scale, self.levels = scale, levels

            @property
            def key(self) -> str:
                return f"speckle{self.levels}"

            def __call__(self, hr: np.ndarray, rng: np.random.Generator) -> np.ndarray:
                lr = hr[:: self.scale, :: self.scale].astype(int)
                lr += rng.integers(-self.levels, self.levels + 1, lr.shape)
                return lr.clip(0, 255).astype(np.uint8)
    ''',
    "stranger/metric.py": '''
        import torch

        class LargestError:
            def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
                return 255 * (sr - hr).abs().amax(dim=(1, 2, 3))
    ''',
    "conf/student/narrow.yaml": '''
        _target_: stranger.student.Narrow
        scale: ${scale}
        width: 8
    ''',
    "conf/loss/charbonnier.yaml": '''
        defaults: [hybrid, _self_]
        extra_terms:
          charbonnier: {weight: 0.5, _target_: stranger.loss.Charbonnier, epsilon: 1.0e-3}
    ''',
    "conf/degradation/speckle.yaml": '''
        _target_: stranger.degradation.Speckle
        scale: ${scale}
        levels: 4
    ''',
    "conf/metrics/largest.yaml": '''
        extra:
          largest: {_target_: stranger.metric.LargestError, label: Largest, digits: 1}
    ''',
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has installed kd_lightning and written FILES."""
    folder = tmp_path_factory.mktemp("stranger")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def call(home: Path, command: str, *words: str | Path) -> str:
    """What `kd-<command>` said; it must succeed."""
    code = f"import sys; from kd_lightning.commands.{command} import main; sys.exit(main())"
    path = os.pathsep.join((str(home), str(ROOT)))
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": path, "KD_LIGHTNING_HOME": str(home / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def run(home: Path, photos: Path) -> Path:
    """The folder of a run with all four parts, prepared first."""
    parts = ("student=narrow", "loss=charbonnier", "degradation=speckle", "metrics=largest")
    data = ("data=photos", f"data.root={photos}", "data.crop_size=32", "data.batch_size=2")
    teacher = ("teacher=folder", "data.num_workers=0")
    options = ("--config-dir", "conf", *parts, *data, *teacher, "logger=csv")
    assert "prepared" in call(home, "prepare", *options)
    said = call(home, "train", *options, "debug=fast", "name=own")
    assert "Largest" in said
    (run,) = (home / "logs" / "own").iterdir()
    return run


@pytest.fixture
def own_classes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--import stranger.student` does for a command."""
    monkeypatch.syspath_prepend(str(home))
    importlib.import_module("stranger.student")


def test_own_term_and_metric_are_logged_by_name(run: Path) -> None:
    with (run / "metrics.csv").open() as file:
        header = next(csv.reader(file))
    assert {"train/hr/charbonnier", "train/teacher/charbonnier", "val/largest"} <= set(header)
    rows = json.loads((run / "metrics.json").read_text())["valid"]
    assert 0 < rows["student"]["largest"] <= 255


def test_own_degradation_made_the_low_resolution_images(home: Path, run: Path) -> None:
    assert list((home / "cache" / "store").rglob("*speckle4*"))
    config = (run / ".hydra" / "config.yaml").read_text()
    assert "stranger.degradation.Speckle" in config


def test_enhanced_image_equals_torch(
    home: Path, run: Path, photo: np.ndarray, own_classes: None
) -> None:
    lr = photo[100:161, 200:273]
    Image.fromarray(lr).save(home / "in.png")
    artifact = run / "student.safetensors"
    call(home, "enhance", "in.png", "-o", "out.png", "--weights", artifact, *OWN)
    network, metadata = load_artifact(artifact)
    assert metadata["architecture"] == "stranger.student.Narrow"
    with torch.no_grad():
        sr = super_resolve(network, to_tensor(lr))[0]
    expected = (sr.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(np.array(Image.open(home / "out.png")) - expected).max() <= 1


def test_own_student_is_exported(home: Path, run: Path) -> None:
    pytest.importorskip("onnxruntime")
    said = call(home, "export", run / "student.safetensors", "-o", "own.onnx", *OWN)
    assert (home / "own.onnx").is_file(), said
    call(home, "enhance", "in.png", "-o", "onnx.png", "--weights", "own.onnx")
    ours, exported = (np.array(Image.open(home / name), int) for name in ("out.png", "onnx.png"))
    assert np.abs(ours - exported).max() <= 1


def to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
