"""A run as a whole: what it leaves behind, resuming, bad input."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from kd_lightning.distill import loggers, wandb_logger
from kd_lightning.distill.job import job
from kd_lightning.distill.losses import HybridLoss
from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.checkpoint import load_checkpoint
from tests.own_students import PlainStudent
from tests.runs import composed, strict_json, tiny_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The folder of a finished run with both loggers; what W&B's summary was told is beside it."""
    folder = tmp_path_factory.mktemp("run")
    summary: dict[str, float] = {}
    keep = wandb_logger.RunWandbLogger.log_summary

    def log_summary(self: wandb_logger.RunWandbLogger, values: dict[str, float]) -> None:
        keep(self, values)
        summary.update(values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_logger.RunWandbLogger, "log_summary", log_summary)
        patch.setenv("KD_LIGHTNING_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("WANDB_MODE", "offline")
        train(tiny_run(folder, photos, "logger=wandb"))
    folder.with_suffix(".json").write_text(json.dumps(summary))
    return folder


def test_run_folder_holds_everything(finished: Path) -> None:
    expected = {
        *("checkpoints", "images", "metrics.csv", "metrics.json", "student.safetensors"),
        *("speed.csv", "wandb", "wandb_id"),
    }
    assert expected <= {path.name for path in finished.iterdir()}
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }
    images = {path.name for path in (finished / "images").iterdir()}
    assert images == {
        *("test_valid.png", "val_0001_epoch_0000.png", "val_0001_epoch_0001.png"),
    }


def test_a_new_run_leaves_the_folder_of_another_alone(finished: Path, photos: Path) -> None:
    before = times(finished)
    with pytest.raises(UserError, match=r"holds a run: ckpt_path=.*last.ckpt continues it"):
        job(tiny_run(finished, photos, "loss.alpha=0.1"))
    assert times(finished) == before


def times(folder: Path) -> dict[Path, int]:
    """When each file was written, but for the lock and those of W&B, whose process lives on."""
    files = (path for path in folder.rglob("*") if path.is_file())
    relative = (path.relative_to(folder) for path in files)
    kept = (path for path in relative if path.name != ".lock" and path.parts[0] != "wandb")
    return {path: (folder / path).stat().st_mtime_ns for path in kept}


@pytest.mark.parametrize("key", ["student.scale", "data.scale"])
def test_another_scale_than_the_runs_is_refused(key: str, tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UserError, match=f"{key}=3: the run has scale=2"):
        train(tiny_run(tmp_path, photos, f"{key}=3"))


def test_a_loss_of_a_teacher_without_one_is_refused_before_the_data_are_prepared(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match=r"loss.teacher_weight=0.5 .*teacher=none"):
        train(tiny_run(tmp_path / "run", photos, "teacher=none"))
    assert not (tmp_path / "home").exists()


def test_a_checkpoint_callback_of_ones_own_does_not_choose_the_artifact(
    tmp_path: Path, photos: Path
) -> None:
    """The first epoch is the best, and the latest is kept beside it."""
    recent = (
        "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, monitor: step, mode: max, "
        f"dirpath: {tmp_path}/recent}}"
    )
    options = (
        "trainer.max_epochs=3",
        "optimizer.lr=0.3",
        "init_from=pretrained",
        f"+callbacks.recent={recent}",
    )
    score = train(tiny_run(tmp_path / "run", photos, "student=student_cnn_residual", *options))
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    _, metadata = load_artifact(tmp_path / "run" / "student.safetensors")
    assert metadata["steps"] == best["global_step"] < 12
    assert score is not None and score < 1


@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_the_end_of_the_training_is_validated_and_the_artifact_says_its_step(
    epochs: int, tmp_path: Path, photos: Path
) -> None:
    """Every second epoch, and the last one: a schedule ends there."""
    options = (f"trainer.max_epochs={epochs}", "trainer.check_val_every_n_epoch=2")
    train(tiny_run(tmp_path, photos, *options, "callbacks.best.monitor=images"))  # later is better
    with (tmp_path / "metrics.csv").open() as file:
        scored = [int(float(row["epoch"])) for row in csv.DictReader(file) if row["val/ssim"]]
    assert scored == [e for e in range(epochs) if e % 2 == 1 or e == epochs - 1]
    checkpoint = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    _, metadata = load_artifact(tmp_path / "student.safetensors")
    assert metadata["steps"] == checkpoint["global_step"] == 4 * epochs


def test_an_artifact_of_an_early_best_says_the_step_of_its_weights(
    tmp_path: Path, photos: Path
) -> None:
    options = ("callbacks.best.monitor=images", "callbacks.best.mode=min")
    train(tiny_run(tmp_path, photos, *options))
    _, metadata = load_artifact(tmp_path / "student.safetensors")
    assert metadata["steps"] == 4  # of 8


def test_rows_of_accumulated_batches_are_one_for_each_step(tmp_path: Path, photos: Path) -> None:
    train(tiny_run(tmp_path, photos, "+trainer.accumulate_grad_batches=2"))
    keys = (("metrics.csv", "train/loss"), ("metrics.csv", "lr-AdamW"))
    for name, key in (*keys, ("speed.csv", "speed/images")):
        with (tmp_path / name).open() as file:
            steps = [int(float(row["step"])) for row in csv.DictReader(file) if row[key]]
        assert steps == [0, 1, 2, 3], key


def test_a_teacher_that_the_loss_does_not_use_is_scored_and_never_runs_over_the_training_images(
    tmp_path: Path, photos: Path
) -> None:
    """Its outputs of the training images are missing here."""
    data = shutil.copytree(photos, tmp_path / "data")
    shutil.rmtree(data / "train_teacher")
    with pytest.raises(UserError, match="train_teacher"):
        train(tiny_run(tmp_path / "half", data))
    students = {}
    for teacher in ("folder", "none"):
        folder = tmp_path / teacher
        train(tiny_run(folder, data, "loss.teacher_weight=0", f"teacher={teacher}"))
        students[teacher] = load_artifact(folder / "student.safetensors")[0].state_dict()
    scored = json.loads((tmp_path / "folder" / "metrics.json").read_text())["valid"]
    assert "teacher" in scored
    assert all(torch.equal(students["none"][key], w) for key, w in students["folder"].items())


@pytest.mark.parametrize("batches", [1, 2, 3, 4, 5])
def test_images_seen_are_the_crops_of_all_batches_also_of_a_short_last_step(
    batches: int, tmp_path: Path, photos: Path
) -> None:
    """An epoch has four batches of two crops."""
    train(tiny_run(tmp_path, photos, f"+trainer.accumulate_grad_batches={batches}"))
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["images"]]
    assert [int(float(row["images"])) for row in rows if row["val/ssim"]] == [8, 16]
    steps = [min(end, 4) * 2 for end in range(batches, 4 + batches, batches)]
    seen = [int(float(row["images"])) for row in rows if row["train/loss"]]
    assert seen == [*steps, *(8 + crops for crops in steps)]


def test_images_seen_follow_lightnings_own_schedule_of_accumulation(
    tmp_path: Path, photos: Path
) -> None:
    target = "lightning.pytorch.callbacks.GradientAccumulationScheduler"
    schedule = f"+callbacks.accumulation={{_target_: {target}, scheduling: {{0: 1, 1: 2}}}}"
    train(tiny_run(tmp_path, photos, schedule))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    trained = [(int(row["step"]), float(row["images"])) for row in rows if row["train/loss"]]
    assert trained == [(0, 2), (1, 4), (2, 6), (3, 8), (4, 12), (5, 16)]
    assert [int(row["step"]) for row in rows if row["lr-AdamW"]] == list(range(6))
    assert [float(row["images"]) for row in rows if row["val/ssim"]] == [8, 16]


def test_a_plateau_lowers_the_rate_where_the_monitored_score_stays(
    tmp_path: Path, photos: Path
) -> None:
    """A score that must rise by half of itself stays."""
    plateau = ("scheduler=plateau", "scheduler.make.patience=0", "scheduler.make.threshold=0.5")
    options = ("trainer.max_epochs=5", "trainer.check_val_every_n_epoch=2")
    train(tiny_run(tmp_path, photos, *plateau, *options))
    with (tmp_path / "metrics.csv").open() as file:
        found = [float(row["lr-AdamW"]) for row in csv.DictReader(file) if row["lr-AdamW"]]
    top = found[0]
    assert found[::4] == [top, top, top, top, top / 2]  # validated after epochs 2, 4 and 5


def test_a_plateau_of_no_score_is_one_line_that_names_the_scores(
    tmp_path: Path, photos: Path
) -> None:
    plateau = ("scheduler=plateau", "scheduler.monitor=train/loss")
    with pytest.raises(UserError, match=r"scheduler.monitor=train/loss: .* val/ssim, val/psnr_y"):
        train(tiny_run(tmp_path, photos, *plateau))


def test_a_plateau_follows_the_teacher_where_the_checkpoints_do(
    tmp_path: Path, photos: Path
) -> None:
    options = ("callbacks.best.monitor=val/to_teacher/psnr_y", "trainer.max_epochs=1")
    train(tiny_run(tmp_path, photos, "scheduler=plateau", *options))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    (best,) = (s["best_model_score"] for s in checkpoint["callbacks"].values() if s.get("monitor"))
    assert checkpoint["lr_schedulers"][0]["best"] == pytest.approx(float(best))


@pytest.mark.parametrize("scheduler", ["step", "plateau", "onecycle"])
def test_a_run_may_begin_with_validation_batches(
    scheduler: str, tmp_path: Path, photos: Path
) -> None:
    options = (f"scheduler={scheduler}", "trainer.num_sanity_val_steps=1", "trainer.max_epochs=1")
    train(tiny_run(tmp_path, photos, *options))
    assert (tmp_path / "student.safetensors").is_file()


@pytest.mark.parametrize(
    ("monitor", "near"),
    [("val/sim", "val/ssim"), ("ssim", "val/ssim"), ("val/psnry", "val/psnr_y")],
)
def test_a_monitor_that_no_validation_has_is_refused_before_the_first_step(
    monitor: str, near: str, tmp_path: Path, photos: Path
) -> None:
    with pytest.raises(UserError, match=rf"monitor={monitor}, .*; did you mean {near}\?"):
        train(tiny_run(tmp_path, photos, f"callbacks.best.monitor={monitor}"))
    stop = f"{{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: {monitor}}}"
    with pytest.raises(UserError, match=rf"EarlyStopping has monitor={monitor}, "):
        train(tiny_run(tmp_path, photos, f"+callbacks.stop={stop}"))
    assert not (tmp_path / "metrics.csv").exists()


def test_what_is_scored_against_a_teacher_cannot_be_monitored_without_one(
    tmp_path: Path, photos: Path
) -> None:
    alone = ("teacher=none", "loss.teacher_weight=0")
    with pytest.raises(UserError, match=r"monitor=val/to_teacher/ssim, which is in no validation"):
        train(tiny_run(tmp_path, photos, *alone, "callbacks.best.monitor=val/to_teacher/ssim"))


def test_a_score_that_a_callback_of_ones_own_logs_can_be_monitored(
    tmp_path: Path, photos: Path
) -> None:
    logs = "+callbacks.mine._target_=tests.distill.planted.Logs"
    options = ("callbacks.best.monitor=val/mine", "trainer.max_epochs=2")
    score = train(tiny_run(tmp_path, photos, logs, *options))
    assert score == 1


def test_a_plateau_follows_a_score_that_a_callback_of_ones_own_logs(
    tmp_path: Path, photos: Path
) -> None:
    """The score is the number of the epoch, of which the best is the first with mode=min."""
    words = ["+callbacks.mine._target_=tests.distill.planted.Logs", "scheduler=plateau"]
    words += ["callbacks.best.monitor=val/mine", "callbacks.best.mode=min"]
    train(tiny_run(tmp_path, photos, *words, "scheduler.make.patience=2"))
    last = tmp_path / "checkpoints" / "last.ckpt"
    (after,) = torch.load(last, weights_only=True)["lr_schedulers"]
    assert (after["best"], after["num_bad_epochs"]) == (0, 1)
    longer = ("trainer.max_epochs=4", f"ckpt_path={last}")
    train(tiny_run(tmp_path, photos, *words, "scheduler.make.patience=2", *longer))
    (after,) = torch.load(last, weights_only=True)["lr_schedulers"]
    assert after["best"] == 0 and after["_last_lr"][0] == pytest.approx(5e-4, rel=0.5)


def test_a_score_that_no_callback_logs_is_named_at_the_first_validation(
    tmp_path: Path, photos: Path
) -> None:
    logs = "+callbacks.mine._target_=tests.distill.planted.Logs"
    plateau = ("scheduler=plateau", "scheduler.monitor=val/mime")
    with pytest.raises(UserError, match=r"scheduler\.monitor=val/mime: nothing has logged it"):
        train(tiny_run(tmp_path, photos, logs, *plateau))


def test_a_schedule_of_the_whole_run_ends_with_it_whatever_its_interval(
    tmp_path: Path, photos: Path
) -> None:
    rates = {}
    for interval in ("step", "epoch"):
        folder = tmp_path / interval
        options = ("scheduler=onecycle", f"scheduler.interval={interval}", "trainer.max_epochs=6")
        train(tiny_run(folder, photos, *options, "trainer.check_val_every_n_epoch=6"))
        with (folder / "metrics.csv").open() as file:
            found = [float(r["lr-AdamW"]) for r in csv.DictReader(file) if r["lr-AdamW"]]
        rates[interval] = (max(found), found[-1])
    assert rates["epoch"][0] == pytest.approx(rates["step"][0], rel=0.2)
    assert rates["epoch"][1] < rates["epoch"][0] / 50


def test_metrics_json_holds_every_method_on_every_test_set(finished: Path) -> None:
    results = json.loads((finished / "metrics.json").read_text())
    assert set(results) == {"valid"}
    assert results["valid"]["n"] == 1
    for method in ("bicubic", "student", "teacher"):
        assert set(results["valid"][method]) == {"ssim_rgb", "psnr_y", "ssim_y"}


def test_teacher_not_saved_in_checkpoint(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"student"}
    assert sum(value.numel() for value in checkpoint["state_dict"].values()) == 77_379


def test_checkpoint_keeps_the_resolved_configuration(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["student"]["_target_"].endswith("StudentCNN")
    assert checkpoint["hyper_parameters"]["loss"] == {
        "_target_": "kd_lightning.distill.losses.DistillationLoss",
        "alpha": 0.85,
        "teacher_weight": 0.5,
        "extra_terms": {},
    }


def test_artifact_holds_the_best_validated_weights_as_bf16_has_them(finished: Path) -> None:
    student, metadata = load_artifact(finished / "student.safetensors")
    best = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in student.state_dict().items():
        assert torch.equal(value, best[f"student.{name}"].bfloat16().float())
    assert metadata["metrics"] == json.loads((finished / "metrics.json").read_text())


def test_baselines_are_logged_once(finished: Path) -> None:
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in ("bicubic", "teacher"):
        assert sum(bool(line[f"val/{row}/ssim"]) for line in rows) == 1
    assert sum(bool(line["val/ssim"]) for line in rows) == 2


def test_images_seen_stand_beside_losses_and_validations(finished: Path) -> None:
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for column in ("train/loss", "val/ssim"):
        pairs = {(row["step"], float(row["images"])) for row in rows if row[column]}
        assert pairs
        assert all(images == 2 * (int(step) + 1) for step, images in pairs)  # batches of 2


def test_student_is_scored_against_the_teacher_too(finished: Path) -> None:
    with (finished / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/ssim"]]
    for row in rows:
        assert 0 < float(row["val/to_teacher/ssim"]) < 1
        assert row["val/to_teacher/psnr_y"] != row["val/psnr_y"]


def test_wandb_summary_holds_the_best_validation_with_its_step_and_the_test(
    finished: Path,
) -> None:
    summary = json.loads(finished.with_suffix(".json").read_text())
    with (finished / "metrics.csv").open() as rows:
        scores = {r["step"]: float(r["val/ssim"]) for r in csv.DictReader(rows) if r["val/ssim"]}
    assert summary["best/val/ssim"] == pytest.approx(max(scores.values()), rel=1e-6)
    assert scores[str(summary["best/step"])] == max(scores.values())
    results = json.loads((finished / "metrics.json").read_text())["valid"]
    assert summary["test/valid/psnr_y"] == results["student"]["psnr_y"]
    assert summary["test/valid/bicubic/ssim"] == results["bicubic"]["ssim_rgb"]


def test_every_loss_term_is_logged_by_name(finished: Path) -> None:
    with (finished / "metrics.csv").open() as file:
        header = next(csv.reader(file))
    assert {"train/loss", "train/hr/l1", "train/hr/ssim", "train/teacher/l1"} <= set(header)


def test_picture_shows_all_columns_with_a_detail(finished: Path) -> None:
    picture = Image.open(finished / "images" / "test_valid.png")
    assert picture.width == 5 * 256
    assert picture.height > 256


@pytest.mark.parametrize("extra", [(), ("callbacks=ema",)], ids=["plain", "ema"])
def test_resumed_run_equals_an_undisturbed_one(
    tmp_path: Path, photos: Path, extra: tuple[str, ...]
) -> None:
    """Stopped in the middle of an epoch and continued: same weights, scores and rows."""
    options = ("trainer.max_epochs=3", "callbacks.last.every_n_train_steps=3", *extra)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(tiny_run(whole, photos, *options))
    with pytest.raises(StopRun):
        train(
            tiny_run(
                parts, photos, *options, "+callbacks.stop._target_=tests.distill.test_run.Stop"
            )
        )
    last = parts / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 6  # of 12; an epoch has 4 steps
    train(tiny_run(parts, photos, *options, f"ckpt_path={last}"))

    assert (parts / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    ours, undisturbed = (load_artifact(run / "student.safetensors")[0] for run in (parts, whole))
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    assert losses(parts) == losses(whole)


class StopRun(RuntimeError):
    """What ends a run before its time."""


def losses(run: Path) -> list[tuple[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [
            (row["step"], row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]
        ]


def Stop() -> object:
    """A callback that stops the run after its seventh step."""
    from lightning import Callback

    class Stopper(Callback):
        def on_train_batch_end(self, trainer, *args) -> None:  # type: ignore[no-untyped-def]
            if trainer.global_step == 7:
                raise StopRun

    return Stopper()


def test_resumed_run_continues_its_wandb_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = wandb_logger.RunWandbLogger(str(tmp_path), project="p")
    second = wandb_logger.RunWandbLogger(str(tmp_path), project="p")
    other = wandb_logger.RunWandbLogger(str(tmp_path / "other"), project="p")
    assert first.version == second.version != other.version


def test_csv_of_a_resumed_run_keeps_rows_up_to_the_checkpoint(tmp_path: Path) -> None:
    before = loggers.RunCSVLogger(str(tmp_path))
    for step in range(5):
        before.log_metrics({"loss": step / 10}, step)
    before.save()
    after = loggers.RunCSVLogger(str(tmp_path), resume_step=3)
    after.log_metrics({"loss": 9.0, "new": 1.0}, 3)
    after.save()
    with (tmp_path / "metrics.csv").open() as file:
        rows = [(row["step"], row["loss"], row["new"]) for row in csv.DictReader(file)]
    assert rows == [("0", "0.0", ""), ("1", "0.1", ""), ("2", "0.2", ""), ("3", "9.0", "1.0")]


def test_wandb_is_offline_without_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not wandb_logger.has_credentials()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert wandb_logger.has_credentials()


def test_diverged_loss_stops_the_run_and_names_the_step(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UserError, match="the training loss is nan at step 1"):
        train(tiny_run(tmp_path, photos, "optimizer.lr=1e30"))
    assert not (tmp_path / "student.safetensors").exists()


def test_diverging_loss_leaves_the_last_good_checkpoint(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighted, calls = HybridLoss.weighted, iter(range(100))

    def diverging(self: HybridLoss, sr: Tensor, targets: Any) -> tuple[Tensor, Any]:
        loss, terms = weighted(self, sr, targets)
        return (loss if next(calls) < 5 else loss * torch.nan), terms

    monkeypatch.setattr(HybridLoss, "weighted", diverging)
    with pytest.raises(UserError, match="nan at step 5"):
        train(tiny_run(tmp_path, photos, "callbacks.last.every_n_train_steps=1"))
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 5
    assert all(value.isfinite().all() for value in state["state_dict"].values())


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_one_key_sets_the_scale_of_everything(tmp_path: Path, photos: Path, scale: int) -> None:
    cfg = tiny_run(
        tmp_path,
        photos,
        f"scale={scale}",
        *("teacher=none", "loss.teacher_weight=0", "data.crop_size=36", "trainer.max_epochs=1"),
    )
    train(cfg)
    results = json.loads((tmp_path / "metrics.json").read_text())
    assert set(results["valid"]) == {"n", "bicubic", "student"}
    assert load_artifact(tmp_path / "student.safetensors")[1]["scale"] == scale


def endless(sr: Tensor, hr: Tensor) -> Tensor:
    """As PSNR is of equal images."""
    return torch.full((len(sr),), torch.inf)


def test_a_score_without_a_number_is_null_in_json(tmp_path: Path, photos: Path) -> None:
    metric = f"+metrics.extra.endless._target_={__name__}.endless"
    train(tiny_run(tmp_path, photos, metric, "trainer.max_epochs=1"))
    results = strict_json((tmp_path / "metrics.json").read_text())
    assert results["valid"]["student"]["endless"] is None
    with safe_open(tmp_path / "student.safetensors", "pt") as file:
        assert strict_json(file.metadata()["metrics"]) == results


def test_fp16_on_a_cpu_falls_back_to_fp32_and_says_so(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_run(tmp_path, photos, "precision=fp16", "trainer.max_epochs=1"))
    said = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("precision=fp16")
    ]
    assert len(said) == 1
    assert (tmp_path / "student.safetensors").exists()


def test_each_validation_prints_a_line(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_run(tmp_path, photos))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[:2] for line in lines] == [
        ["epoch 1/2", "step 4"],
        ["epoch 2/2", "step 8"],
    ]


def test_student_that_cannot_be_written_is_refused_before_the_first_step(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_step(*args: object) -> None:
        raise AssertionError("the refusal must come first")

    monkeypatch.setattr("lightning.Trainer.fit", no_step)
    student = "student._target_=tests.distill.test_run.make_student"
    with pytest.raises(UserError, match="arguments do not fit PlainStudent"):
        train(tiny_run(tmp_path, photos, student))


def make_student(residual: bool, process: str, **arguments: object) -> object:
    """A function in the place of a class: what it returns is built from other arguments."""
    return PlainStudent()


def test_student_of_the_users_own_is_trained_and_written(tmp_path: Path, photos: Path) -> None:
    own = ["student._target_=tests.own_students.PlainStudent", "+student.width=4"]
    gone = ["~student.residual", "~student.process", "~student.rep"]
    train(tiny_run(tmp_path, photos, "trainer.max_epochs=1", *own, *gone))
    student, metadata = load_artifact(tmp_path / "student.safetensors")
    assert type(student) is PlainStudent
    assert metadata["degradation"] == "bicubic"
    from_checkpoint, _ = load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    x = torch.rand(1, 3, 12, 14)
    assert torch.equal(student(x), from_checkpoint(x))


def test_missing_checkpoint_is_named(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UserError, match=r"ckpt_path=/.*nowhere/last\.ckpt: no such file"):
        train(tiny_run(tmp_path, photos, "ckpt_path=nowhere/last.ckpt"))


@pytest.mark.parametrize("key", ["loss.alpha", "loss.teacher_weight"])
def test_share_outside_zero_to_one_is_named(tmp_path: Path, photos: Path, key: str) -> None:
    with pytest.raises(Exception, match=rf"{key}=1\.5 is outside \[0, 1\]"):
        train(tiny_run(tmp_path, photos, f"{key}=1.5"))


def test_missing_div2k_is_named_with_its_size_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prepare\.py data=div2k"):
        train(composed(tmp_path, "experiment=kd_div2k", f"data.root={tmp_path}/none", "logger=csv"))


@pytest.mark.parametrize("scheduler", ["step", "onecycle"])
def test_negative_learning_rate_is_one_line_that_names_the_optimizer(
    tmp_path: Path, photos: Path, scheduler: str
) -> None:
    cfg = tiny_run(tmp_path, photos, "optimizer.lr=-1", f"scheduler={scheduler}")
    with pytest.raises(UserError, match="optimizer: Invalid learning rate: -1"):
        train(cfg)


def test_a_run_without_a_test_set_says_so_in_one_line(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_run(tmp_path, photos, "~data.test.valid", "trainer.max_epochs=1"))
    said = capsys.readouterr()
    assert "\nno test set: validations alone score the student; +data.test.NAME=FOLDER" in said.out
    assert "test set ┃" not in said.out
    assert "ranks is zero" not in said.err
    assert json.loads((tmp_path / "metrics.json").read_text()) == {}
    assert (tmp_path / "student.safetensors").is_file()
