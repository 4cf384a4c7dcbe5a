"""BasicSR's own training loop on one of our students; writes when each step ended, `ends.json`."""

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kd_lightning.compat import import_basicsr
from kd_lightning.models.interpolate import super_resolve
from kd_lightning.models.students import StudentFast

import_basicsr()

from basicsr.models.sr_model import SRModel  # noqa: E402
from basicsr.train import train_pipeline  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY  # noqa: E402

ends: list[tuple[float, float]] = []  # seconds, CPU seconds of this process


@ARCH_REGISTRY.register()
class OurStudent(nn.Module):
    """The student, from the LR image as BasicSR's networks are."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.student = StudentFast(**arguments)

    def forward(self, lr: Tensor) -> Tensor:
        return super_resolve(self.student, lr)


@MODEL_REGISTRY.register()
class TimedSRModel(SRModel):
    """SRModel, and the moment at which each step ends."""

    def optimize_parameters(self, current_iter: int) -> None:
        super().optimize_parameters(current_iter)
        ends.append((time.perf_counter(), time.process_time()))


train_pipeline(str(Path.cwd()))
Path("ends.json").write_text(json.dumps(ends))
