"""Starting a student from weights."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.distill.run import train
from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.init_from import load_init_from, other_arguments
from kd_lightning.models.network import fuse
from kd_lightning.models.students import StudentCNN, StudentDirect, StudentFast
from kd_lightning.models.swinir import SwinIR
from tests.own_students import PlainStudent
from tests.runs import tiny_run

CNN = SHIPPED_WEIGHTS / "student_cnn.safetensors"


def test_pretrained_is_the_shipped_student_of_the_same_arguments() -> None:
    student = StudentCNN(residual=True)
    assert load_init_from(student, "pretrained") == CNN
    shipped, _ = load_artifact(CNN)
    for name, value in shipped.state_dict().items():
        assert torch.equal(student.state_dict()[name], value)


@pytest.mark.parametrize(("scale", "name"), [(1, "call_tiny_x1"), (2, "student_tiny")])
def test_pretrained_is_for_clean_images_where_such_weights_ship(scale: int, name: str) -> None:
    student = StudentFast(scale=scale, width=16, depth=9, rep=True, grey=scale == 1)
    assert load_init_from(student, "pretrained") == SHIPPED_WEIGHTS / f"{name}.safetensors"


def test_pretrained_with_other_arguments_says_what_ships() -> None:
    """Same tensors, but the shipped student has a global skip."""
    with pytest.raises(UserError, match=r"student_cnn is StudentCNN with .*residual.: True"):
        load_init_from(StudentCNN(residual=False), "pretrained")


def test_arguments_that_weights_do_not_show_are_said_where_they_differ(tmp_path: Path) -> None:
    """Those of the file's network, of which some may be left at their defaults."""
    said = partial(other_arguments, CNN, StudentCNN())
    assert said(arguments={"residual": True}) == ""
    assert said(arguments={"residual": True, "process": "half"}) == (
        ", whose network had process=full, here half"
    )
    assert said(arguments={}) == ", whose network had residual=True, here False"
    state = StudentCNN().state_dict()
    torch.save(state, tmp_path / "state.pth")
    assert other_arguments(tmp_path / "state.pth", StudentCNN(), {}) == ""


def test_rep_student_starts_from_a_fused_artifact(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain, rep = (
        fuse(StudentFast(width=8, depth=3, rep=True)),
        StudentFast(width=8, depth=3, rep=True),
    )
    save_artifact(tmp_path / "a.safetensors", plain, {"width": 8, "depth": 3})
    load_init_from(rep, str(tmp_path / "a.safetensors"))
    x = torch.rand(1, 3, 12, 14)
    torch.testing.assert_close(rep(x), plain(x), atol=1e-5, rtol=0)


class Scaled(nn.Conv2d):
    """A layer of one's own that can be fused, and cannot take over what it was fused to."""

    def __init__(self) -> None:
        super().__init__(6, 3, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.gain, self.bias)

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        plain = nn.Conv2d(6, 3, 3, padding=1)
        plain.load_state_dict({"weight": self.weight * self.gain, "bias": self.bias})
        return plain


class ScaledStudent(PlainStudent):
    def __init__(self) -> None:
        super().__init__()
        self.body[2] = Scaled()


def test_a_layer_that_would_stay_random_is_refused_by_its_name(tmp_path: Path) -> None:
    """Beside fused weights; its own checkpoint starts the student."""
    trained, student = ScaledStudent(), ScaledStudent()
    path = save_artifact(tmp_path / "a.safetensors", trained, {})
    with pytest.raises(UserError, match=r"a\.safetensors: body\.2 is a Scaled, .* load_fused"):
        load_init_from(student, str(path))
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    load_init_from(student, str(tmp_path / "a.pth"))
    x = torch.rand(1, 3, 9, 9)
    assert torch.equal(student(x), trained(x))


def test_int8_student_starts_from_weights_in_floats(tmp_path: Path) -> None:
    """All but the ranges of activations, which training finds; until then nothing is rounded."""
    torch.manual_seed(0)
    shape = {"width": 8, "depth": 3}
    plain, int8 = (
        fuse(StudentDirect(**shape, rep=True)),
        StudentDirect(**shape, rep=True, int8=True),
    )
    save_artifact(tmp_path / "a.safetensors", plain, shape)
    load_init_from(int8, str(tmp_path / "a.safetensors"))
    x = torch.rand(1, 3, 12, 14)
    torch.testing.assert_close(int8.eval()(x), plain(x), atol=2e-2, rtol=0)


def test_checkpoint_of_a_basicsr_training_starts_a_student(tmp_path: Path) -> None:
    """As basicsr's BaseModel.save_network writes it; the averaged weights are preferred."""
    shape = {"upscale": 2, "embed_dim": 12, "depths": [1], "num_heads": [2]}
    raw, averaged, student = (SwinIR(**shape, upsampler="pixelshuffledirect") for _ in range(3))
    states = {"params": raw.state_dict(), "params_ema": averaged.state_dict()}
    torch.save(states, tmp_path / "net_g_latest.pth")
    load_init_from(student, str(tmp_path / "net_g_latest.pth"))
    for name, value in averaged.state_dict().items():
        assert torch.equal(student.state_dict()[name], value)


def test_weights_that_do_not_fit_are_refused_by_file() -> None:
    with pytest.raises(UserError, match=r"student_cnn.safetensors.*StudentFast"):
        load_init_from(StudentFast(), str(CNN))


@pytest.mark.parametrize("key", ["init_from=pretrained", f"init_from={CNN}"])
def test_run_starts_from_the_weights_that_it_is_told(
    tmp_path: Path, photos: Path, key: str
) -> None:
    cfg = tiny_run(
        *(tmp_path, photos, "student.residual=true", key, "optimizer.lr=0"),
        "trainer.max_epochs=1",
    )
    train(cfg)
    trained, _ = load_artifact(tmp_path / "student.safetensors")
    shipped, _ = load_artifact(CNN)
    for name, value in shipped.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value)
