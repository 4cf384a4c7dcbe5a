"""The LightningModule without a run around it."""

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.distill.losses import DistillationLoss
from kd_lightning.distill.module import DistillationModule
from kd_lightning.errors import UserError
from kd_lightning.models.interpolate import downscale, upscale
from kd_lightning.models.students import StudentCNN, StudentFast
from kd_lightning.quality import scores


def module_of(student: nn.Module, **settings: object) -> DistillationModule:
    return DistillationModule(
        student.eval(),
        DistillationLoss(),
        optimizer=torch.optim.AdamW,
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
        **settings,
    )


@pytest.fixture
def batch(photo_tensor: Tensor) -> dict[str, Tensor]:
    """One whole image of odd LR size, as the data module makes it."""
    hr = photo_tensor[..., 100:192, 60:138]
    lr = downscale(hr, 2)
    return {"hr": hr, "lr": lr, "bicubic": upscale(lr, 2).clamp(0, 1), "teacher": hr * 0.98}


STUDENTS = [
    StudentFast(width=8, depth=3),
    StudentCNN(residual=True),
    StudentCNN(process="half", residual=True),
]


@pytest.mark.parametrize("student", STUDENTS, ids=["fast", "full", "half"])
@torch.no_grad()
def test_restored_tiles_equal_the_whole_image(student: nn.Module, batch: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    whole = module_of(student, tile=512).restore(batch)
    tiled = module_of(student, tile=24).restore(batch)
    assert whole.shape == batch["hr"].shape
    torch.testing.assert_close(tiled, whole, atol=1e-6, rtol=0)


@torch.no_grad()
def test_restored_images_are_float32_under_autocast(batch: dict[str, Tensor]) -> None:
    module = module_of(STUDENTS[0])
    exact = module.restore(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.restore(batch), exact)


@pytest.mark.parametrize("student", STUDENTS[1:], ids=["full", "half"])
def test_network_gets_the_image_that_it_says_it_takes(
    student: StudentCNN, batch: dict[str, Tensor]
) -> None:
    expected = batch["lr"] if student.takes_lr else batch["bicubic"]
    assert torch.equal(module_of(student).input_of(batch), expected)


class Flat(nn.Module):
    """A loss of one's own, of flat views."""

    def forward(self, *images: Tensor) -> dict[str, Tensor]:
        sr, hr, teacher = (image.view(len(image), -1) for image in images)
        return {"loss": (sr - hr).square().mean() + (sr - teacher).square().mean()}


@pytest.mark.parametrize("student", STUDENTS, ids=["fast", "full", "half"])
def test_losses_get_contiguous_images(student: nn.Module, batch: dict[str, Tensor]) -> None:
    """Whatever the order of the pixels in the batch, and in what the student makes of them."""
    module = module_of(student)
    module.loss = Flat()
    turned = {
        name: image.contiguous(memory_format=torch.channels_last) for name, image in batch.items()
    }
    losses = [module.terms_of(images)["loss"] for images in (batch, turned)]
    torch.testing.assert_close(*losses)


class Returns(nn.Module):
    """A loss of one's own that returns what it is told."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, sr: Tensor, hr: Tensor, teacher: Tensor | None) -> object:
        return self.value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.tensor(1.0), "Returns returned a Tensor; return a dict of scalar tensors by name"),
        ({"l1": torch.tensor(1.0)}, "Returns returned a dict without `loss`; return"),
        ({"loss": 1.0}, "Returns returned as 'loss' a float, expected a scalar"),
        ({"loss": torch.ones(1), "l1": torch.ones(2)}, r"returned as 'l1' \(2,\), expected a"),
        (None, "Returns returned a NoneType; return"),
    ],
)
def test_what_a_loss_must_return_is_said(
    value: object, said: str, batch: dict[str, Tensor]
) -> None:
    module = module_of(STUDENTS[0])
    module.loss = Returns(value)
    with pytest.raises(UserError, match=said):
        module.terms_of(batch)


@torch.no_grad()
def test_each_method_is_scored_by_the_protocol(batch: dict[str, Tensor]) -> None:
    module = module_of(STUDENTS[0])
    rows = module.new_scores()
    module.update_scores(rows, batch)
    images = {"student": module.restore(batch), **{k: batch[k] for k in ("bicubic", "teacher")}}
    for name, image in images.items():
        for metric, value in scores(image, batch["hr"], 2).items():
            torch.testing.assert_close(rows[name].compute()[metric], value.float()[0])


def test_checkpoint_tells_whether_the_baselines_are_logged() -> None:
    first, second = (module_of(StudentFast(width=8, depth=3)) for _ in range(2))
    first.baselines_logged = True
    checkpoint: dict[str, object] = {}
    first.on_save_checkpoint(checkpoint)
    second.on_load_checkpoint(checkpoint)
    assert second.baselines_logged


@torch.no_grad()
def test_scores_are_of_whole_float32_on_a_gpu_too(
    batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else cuDNN rounds what it multiplies to 10 bits; training keeps that, for its speed."""
    seen = []

    class Watched(StudentFast):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(x)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    module_of(Watched(width=8, depth=3)).restore(batch)
    assert seen and not any(seen)
    assert torch.backends.cudnn.allow_tf32
