"""W&B's own switches decide what goes online; axes, lineage and the summary are what they say."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.distill.publish import log_file, log_summary, use_data
from kd_lightning.distill.wandb_logger import RunWandbLogger, define_axes, run_id
from kd_lightning.errors import UserError

SWITCHES = {  # what is set: what W&B must do with a key, and without
    (): ("online", "offline"),
    ("WANDB_MODE=online",): ("online", "offline"),
    ("WANDB_MODE=offline",): ("offline", "offline"),
    ("WANDB_MODE=dryrun",): ("offline", "offline"),
    ("WANDB_MODE=disabled",): ("disabled", "disabled"),
    ("WANDB_DISABLED=true",): ("disabled", "disabled"),
    ("WANDB_DISABLED=true", "WANDB_MODE=online"): ("disabled", "disabled"),
    ("WANDB_DISABLED=false",): ("online", "offline"),
    ("wandb/settings: offline",): ("offline", "offline"),
    ("wandb/settings: disabled",): ("disabled", "disabled"),
}


@pytest.mark.parametrize("key", [True, False], ids=["key", "no key"])
@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: " ".join(switches) or "none")
def test_nothing_goes_online_that_was_switched_off(
    switches: tuple[str, ...], key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for switch in switches:
        if switch.startswith("wandb/settings"):  # what `wandb offline` and `wandb disabled` write
            (tmp_path / "wandb").mkdir()
            mode = switch.rpartition(" ")[2]
            (tmp_path / "wandb" / "settings").write_text(f"[default]\nmode = {mode}\n")
        else:
            monkeypatch.setenv(*switch.split("="))
    logger = RunWandbLogger(str(tmp_path / "run"), project="p")
    expected = SWITCHES[switches][0 if key else 1]
    assert logger._wandb_init["settings"].mode == expected
    assert logger._offline is (expected == "offline")


def test_a_mode_that_wandb_does_not_have_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match="WANDB_MODE=ofline"):
        RunWandbLogger(str(tmp_path), project="p")


class FakeRun:
    """What a W&B run is asked to do, in order."""

    id = "abc123"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.axes: dict[str, str | None] = {}
        self.summary: dict[str, float] = {}

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes[name] = step_metric

    def use_artifact(self, artifact: Any) -> None:
        self.asked.append(("uses", artifact))

    def log_artifact(self, artifact: Any) -> None:
        self.asked.append(("makes", artifact))


@pytest.fixture(params=["online", "offline", "disabled"])
def logger(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunWandbLogger:
    """A logger whose run is a fake one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", request.param)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    logger = RunWandbLogger(str(tmp_path / "run"), project="p")
    logger._experiment = FakeRun()  # type: ignore[assignment]
    return logger


def test_lineage_is_data_then_student_and_online_only(
    logger: RunWandbLogger, tmp_path: Path
) -> None:
    manifest, weights = tmp_path / "manifest.json", tmp_path / "student.safetensors"
    manifest.write_text('{"entries": {}}')
    weights.write_bytes(b"weights")
    use_data([logger], {"00_train_HR": manifest})
    log_file([logger], weights, {"valid": {"n": 6}})
    run: Any = logger._experiment
    if not logger.online:
        assert run.asked == []
        return
    (how_data, data), (how_student, student) = run.asked
    assert (how_data, data.name, data.type) == ("uses", "triplets", "dataset")
    assert set(data.manifest.entries) == {"00_train_HR.json"}
    assert (how_student, student.name, student.type) == ("makes", "student-abc123", "model")
    assert set(student.manifest.entries) == {"student.safetensors"}
    assert student.metadata == {"valid": {"n": 6}}


def test_summary_holds_the_latest_values(logger: RunWandbLogger) -> None:
    log_summary([logger], {"best/val/ssim": 0.5, "best/step": 99})
    log_summary([logger], {"best/val/ssim": 0.75, "best/step": 199})
    run: Any = logger._experiment
    assert run.summary == {"best/val/ssim": 0.75, "best/step": 199}


def test_every_curve_has_one_axis() -> None:
    """Where two patterns fitted a name, W&B would choose."""
    run = FakeRun()
    define_axes(run)
    for name, axis in {
        "train/hr/l1": "images",
        "val/to_teacher/ssim": "images",
        "speed/data_wait": "images",
        "memory/process_mb": "images",
        "lr-AdamW": "trainer/global_step",
    }.items():
        assert [step for glob, step in run.axes.items() if fnmatch(name, glob)] == [axis]


def test_a_sweep_of_wandb_gives_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    assert run_id(tmp_path / "a") != "given"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert run_id(tmp_path / "b") == (tmp_path / "b").read_text() == "given"
