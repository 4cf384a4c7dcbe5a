"""Images and files go to whichever logger takes them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from kd_lightning.distill.publish import log_file, log_image
from kd_lightning.distill.run import train
from tests.runs import tiny_run


class TakesAll:
    """A logger of a user's own."""

    def __init__(self) -> None:
        self.images: list[tuple[str, int | None]] = []
        self.files: list[Path] = []

    def log_image(self, key: str, images: list[Image.Image], step: int | None = None) -> None:
        self.images.append((key, step))

    def log_file(self, path: Path, metadata: dict[str, object]) -> None:
        self.files.append(path)


def test_loggers_get_what_they_have_a_method_for() -> None:
    taker, other = TakesAll(), object()
    log_image([other, taker], "val/comparison", Image.new("RGB", (2, 2)), 7)
    log_file([other, taker], Path("student.safetensors"), {})
    assert taker.images == [("val/comparison", 7)]
    assert taker.files == [Path("student.safetensors")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A run with TensorBoard and a profiler, `debug=fast`, a loss term and a metric more."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("run")
    metric = "{_target_: tests.distill.test_metrics.mean_error, label: MAE, digits: 3}"
    cfg = tiny_run(
        *(folder, photos, "logger=tensorboard", "trainer=profile", "debug=fast"),
        *("loss=hybrid_gradient", f"+metrics.extra.mae={metric}"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_LIGHTNING_HOME", str(folder / "home"))
        train(cfg)
    return folder


def test_tensorboard_shows_scores_terms_and_images(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/hr/gradient", "val/ssim", "val/mae"} <= set(tags["scalars"])
    assert "test/comparison/valid" in tags["images"]
    logged = events.Scalars("val/mae")
    assert len(logged) == 2  # validations
    assert all(0 < event.value < 1 for event in logged)


def test_own_metric_is_in_the_results(run: Path) -> None:
    rows = json.loads((run / "metrics.json").read_text())["valid"]
    for method in ("bicubic", "student", "teacher"):
        assert 0 < rows[method]["mae"] < 1


def test_profile_of_a_run_of_two_steps_is_left_beside_it(run: Path) -> None:
    assert "A training step: " in (run / "fit-profile.txt").read_text()
