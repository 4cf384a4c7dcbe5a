"""CPU milliseconds on one thread, ours and by plain torch in turns, medians: `parts.json`.

The loss and its gradient, of 16 crops of 128x128; a step of students on the LR image, of 8 such
crops in bf16, whose activations are rounded by `Uint8ReLU` or by torch's own fake quantization, and
beside them one that is not rounded.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.distill.one_pass import weighted_losses
from kd_lightning.models.int8 import FADE, Uint8ReLU, round_activations
from kd_lightning.models.students import StudentDirect
from kd_lightning.quality import ssim

TURNS = 12
L1, SSIM = [0.425, 0.425], [0.075, 0.075]  # kd_photos: alpha 0.85, half of it for each target


class Plain(Uint8ReLU):
    """The same by torch's operations."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.float().relu()
        self.top.copy_(torch.maximum(self.top * FADE, x.detach().amax()))
        return round_activations(x, self.top)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image, *targets = torch.rand(3, 16, 3, 128, 128)
    result = {"loss of kd_photos": losses(image, targets)}
    for width, depth in ((16, 13), (32, 9)):
        result[f"step of {width} x {depth} in 8 bits"] = steps(width, depth, image[:8])
    (Path(__file__).parent / "parts.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def losses(image: Tensor, targets: list[Tensor]) -> dict[str, float]:
    sr = image.clone().requires_grad_()

    def plain() -> None:
        terms = zip(targets, L1, SSIM, strict=True)
        losses = [a * (sr - y).abs().mean() + b * (1 - ssim(sr, y).mean()) for y, a, b in terms]
        torch.stack(losses).sum().backward()

    def fast() -> None:
        weighted_losses(sr, targets, L1, SSIM)[0].backward()

    return in_turns({"fast": fast, "plain": plain})


def steps(width: int, depth: int, hr: Tensor) -> dict[str, float]:
    lr = hr[..., ::2, ::2].contiguous(memory_format=torch.channels_last)

    def step(layer: type[Uint8ReLU] | None) -> Callable[[], None]:
        student = StudentDirect(width=width, depth=depth, rep=True, int8=layer is not None)
        for place, part in enumerate(student.body):
            if layer and isinstance(part, Uint8ReLU):
                student.body[place] = layer()
        student.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                (student(lr) - hr).abs().mean().backward()

        return run

    return in_turns({"fast": step(Uint8ReLU), "plain": step(Plain), "not rounded": step(None)})


def in_turns(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(TURNS):
        for name, function in functions.items():
            began = time.process_time()
            function()
            took[name].append(1000 * (time.process_time() - began))
    return {name: round(statistics.median(values[2:]), 1) for name, values in took.items()}


if __name__ == "__main__":
    main()
