"""Distillation by features: the student's last hidden layer imitates the teacher's."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError


def check_input(features: nn.Module | None, degradation: Any) -> None:
    """Raises UserError where the teacher of `features` is one for clean images and would run on the
    crops that `degradation` makes, which no clean ones accompany."""
    if not isinstance(features, FeatureDistillation) or getattr(degradation, "clean", False):
        return
    if features.input == "clean":
        raise UserError(
            "teacher.input=clean: features=teacher runs the teacher on the student's crops, which "
            f"this degradation ({degradation.key}) has changed; give teacher.input=degraded "
            "(features.teacher.input=degraded where features have another teacher than the run), "
            "features=none, or degradation=bicubic"
        )


class FeatureDistillation(nn.Module):
    """L1 between the teacher's last features and a learned 1x1 projection of the student's.

    The hints of Romero et al. 2015, "FitNets: Hints for Thin Deep Nets" (eq. 3), with the
    teacher's features standardised for each channel and batch, so that `weight` means the same
    for any teacher. The teacher runs on the LR crops of each batch, degraded as they are (see
    `check_input`); it is neither trained nor saved.

    Args:
        student: network whose `body` is a sequence of layers; the input of the last one counts.
        teacher: has `name`, `input` and `network()` (`kd_lightning.models.teacher.NetworkTeacher`).
        layer: name of the teacher's module whose output counts.
        weight: of this term in the loss.

    Raises:
        UserError: the teacher has no network, or no such layer, or the student no `body`.
    """

    def __init__(self, student: nn.Module, teacher: Any, layer: str, weight: float) -> None:
        super().__init__()
        if not hasattr(teacher, "network"):
            raise UserError(
                "features=teacher runs the teacher's network, and this teacher has none: "
                "take teacher=swinir_bundled or another network"
            )
        network = teacher.network()
        modules = dict(network.named_modules())
        if layer not in modules:
            raise UserError(
                f"features.layer={layer}: teacher={teacher.name} has no such module; "
                f"among its modules are {', '.join(name for name, _ in network.named_children())}"
            )
        body = getattr(student, "body", None)
        if not isinstance(body, nn.Sequential):
            raise UserError(f"features=teacher: {type(student).__name__} has no `body` to read")
        self.weight = weight
        self.input = getattr(teacher, "input", "clean")
        self.seen: dict[str, Tensor] = {}
        self._teacher = [network]  # in a list: no submodule, so neither trained nor saved
        modules[layer].register_forward_hook(self._keep_teacher)
        body[-1].register_forward_pre_hook(self._keep_student)
        width, teacher_width = self._widths(student, network)
        self.projection = nn.Conv2d(width, teacher_width, 1)

    def forward(self, lr: Tensor) -> Tensor:
        """The unweighted term for LR images (B,3,h,w), after the student's forward of them."""
        network = self._teacher[0].to(lr.device)
        with torch.no_grad():
            network(lr)
            target = self.seen.pop("teacher")[..., : lr.shape[-2], : lr.shape[-1]].float()
            std, mean = torch.std_mean(target, dim=(0, 2, 3), keepdim=True)
            target = (target - mean) / (std + 1e-6)
        features = F.adaptive_avg_pool2d(
            self.seen.pop("student"), (target.shape[2], target.shape[3])
        )
        return (self.projection(features).float() - target).abs().mean()

    def _keep_teacher(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.seen["teacher"] = output

    def _keep_student(self, module: nn.Module, args: tuple[Tensor]) -> None:
        self.seen["student"] = args[0]

    @torch.no_grad()
    def _widths(self, student: nn.Module, network: nn.Module) -> tuple[int, int]:
        """Channels of the student's and the teacher's features."""
        image = torch.zeros(1, 3, 16, 16)
        student(image)
        network(image)
        return self.seen.pop("student").shape[1], self.seen.pop("teacher").shape[1]
