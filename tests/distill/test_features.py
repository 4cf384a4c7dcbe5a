"""Distillation by features."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.degradations.jpeg import Jpeg
from kd_lightning.distill.features import FeatureDistillation, check_input
from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from kd_lightning.models.students import StudentCNN, StudentFast
from kd_lightning.models.swinir import SwinIR
from kd_lightning.models.teacher import FolderTeacher
from tests.runs import tiny_run


class SmallTeacher:
    name = "small"

    def network(self) -> SwinIR:
        torch.manual_seed(0)
        network = SwinIR(
            upscale=2, embed_dim=12, depths=[1], num_heads=[2], upsampler="pixelshuffledirect"
        )
        torch.nn.init.normal_(network.conv_after_body.weight)  # zero until it has been trained
        return network.requires_grad_(False)


@pytest.mark.parametrize("student", [StudentFast(width=8, depth=3), StudentCNN()])
def test_student_learns_to_imitate_the_teachers_features(student: torch.nn.Module) -> None:
    torch.manual_seed(1)
    features = FeatureDistillation(student, SmallTeacher(), "conv_after_body", weight=1.0)
    optimizer = torch.optim.Adam([*student.parameters(), *features.parameters()], 3e-3)
    lr = torch.rand(2, 3, 8, 16)
    bicubic = torch.nn.functional.interpolate(lr, scale_factor=2)
    losses = []
    for _ in range(60):
        student(bicubic)
        losses.append(features(lr))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_term_is_zero_for_the_projection_that_reproduces_the_teacher() -> None:
    """A student whose hidden layer is the teacher's, standardised, and a projection that passes
    it on."""
    teacher = SmallTeacher()
    network = teacher.network()
    student = torch.nn.Module()
    student.body = torch.nn.Sequential(torch.nn.Identity())
    student.forward = lambda x: student.body(torch.zeros(len(x), 12, 8, 8))  # type: ignore
    features = FeatureDistillation(student, teacher, "conv_after_body", weight=1.0)
    seen = []
    network.conv_after_body.register_forward_hook(lambda *args: seen.append(args[-1]))
    lr = torch.rand(2, 3, 8, 8)
    network(lr)
    centred = seen[0] - seen[0].mean(dim=(0, 2, 3), keepdim=True)
    student.body(centred / centred.square().mean(dim=(0, 2, 3), keepdim=True).sqrt())
    with torch.no_grad():
        features.projection.weight.copy_(torch.eye(12)[..., None, None])
        features.projection.bias.zero_()
    assert features(lr).item() == pytest.approx(0, abs=5e-3)  # std with n - 1


def test_unknown_layer_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"features\.layer=last.*conv_after_body"):
        FeatureDistillation(StudentFast(), SmallTeacher(), "last", weight=1.0)


def test_teacher_without_a_network_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match="teacher=swinir_bundled"):
        FeatureDistillation(StudentFast(), FolderTeacher(), "conv_after_body", weight=1.0)


@pytest.mark.parametrize("extra", [(), ("callbacks=ema",)], ids=["plain", "ema"])
def test_run_with_features_saves_no_teacher(
    tmp_path: Path, photos: Path, extra: tuple[str, ...]
) -> None:
    """The last teacher=... wins over tiny_run's."""
    cfg = tiny_run(
        *(tmp_path, photos, "teacher=swinir_bundled", "features=teacher", "student=student_rep"),
        *("trainer.max_epochs=1", *extra),
    )
    train(cfg)
    content = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    state = content["state_dict"]
    assert {name.split(".")[0] for name in state} == {"student", "features"}
    others = {name for name in state if not name.startswith("student.")}
    assert others == {"features.projection.weight", "features.projection.bias"}


class Own(torch.nn.Module):
    input = "clean"


@pytest.mark.parametrize("input", ["clean", "degraded"])
@pytest.mark.parametrize("degradation", [Bicubic(2), Jpeg(2)])
def test_a_teacher_for_clean_images_does_not_run_on_degraded_crops(
    input: str, degradation: Any
) -> None:
    teacher = SmallTeacher()
    teacher.input = input  # type: ignore[attr-defined]
    features = FeatureDistillation(StudentFast(), teacher, "conv_after_body", weight=1.0)
    for allowed in (None, Own()):
        check_input(allowed, degradation)
    if input == "clean" and not isinstance(degradation, Bicubic):
        with pytest.raises(UserError, match=r"teacher\.input=clean: .*teacher\.input=degraded"):
            check_input(features, degradation)
    else:
        check_input(features, degradation)


def test_a_run_refuses_such_features_before_its_data_are_prepared(
    tmp_path: Path, photos: Path
) -> None:
    words = ("teacher=swinir_bundled", "features=teacher", "degradation=noise")
    with pytest.raises(UserError, match=r"teacher\.input=clean: "):
        train(tiny_run(tmp_path, photos, *words))
