"""What a run says before it begins."""

from pathlib import Path

import pytest
from hydra.utils import instantiate

from kd_lightning.distill.run import resolved
from kd_lightning.distill.summary import summary
from tests.runs import composed


def test_summary_names_student_teacher_data_loss_and_length() -> None:
    cfg = composed(
        Path("runs/x"),
        *("student=student_rep", "loss=hybrid_gradient", "data.root=photos", "scale=2"),
        *("data.batch_size=8", "data.samples_per_epoch=800", "trainer.max_epochs=3"),
    )
    teacher = instantiate(cfg.teacher)
    said = summary(resolved(cfg), instantiate(cfg.student), teacher, "bicubic")
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert lines["student"].startswith("StudentFast, ")
    assert lines["student"].endswith(" parameters, 71,692 fused")
    assert lines["teacher"] == "swinir_bundled"
    assert lines["data"].startswith("photos, x2, bicubic")
    assert lines["loss"] == "alpha=0.85, teacher_weight=0.5, 0.5*gradient"
    assert lines["training"].startswith("3 epochs of 100 steps, 8 crops of 128x128")


def test_summary_of_a_run_without_a_teacher() -> None:
    cfg = composed(Path("x"), "teacher=none", "loss.teacher_weight=0")
    said = summary(resolved(cfg), instantiate(cfg.student), None, "bicubic")
    assert "teacher     none" in said.splitlines()


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([], 100),
        (["trainer=ddp"], 50),
        (["trainer=ddp", "+trainer.num_nodes=2"], 25),
        (["trainer.limit_train_batches=7"], 7),
        (["trainer.limit_train_batches=0.5"], 50),
        (["+trainer.accumulate_grad_batches=3"], 34),
    ],
)
def test_summary_counts_the_steps_that_an_epoch_has(overrides: list[str], steps: int) -> None:
    sizes = ("data.batch_size=8", "data.samples_per_epoch=800", "teacher=none")
    cfg = composed(Path("x"), *sizes, "loss.teacher_weight=0", *overrides)
    said = summary(resolved(cfg), instantiate(cfg.student), None, "bicubic")
    assert f" epochs of {steps} steps, " in said
