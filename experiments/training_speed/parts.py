"""CPU milliseconds of the loss and its gradient on one thread, ours and by autograd in turns,
medians: `parts.json`. 16 crops of 128x128."""

import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.distill.one_pass import weighted_losses
from kd_lightning.quality import ssim

TURNS = 12
L1, SSIM = [0.425, 0.425], [0.075, 0.075]  # kd_photos: alpha 0.85, half of it for each target


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image, *targets = torch.rand(3, 16, 3, 128, 128)
    result = {"loss of kd_photos": compare(image, targets)}
    (Path(__file__).parent / "parts.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def compare(image: Tensor, targets: list[Tensor]) -> dict[str, float]:
    sr = image.clone().requires_grad_()

    def plain() -> None:
        terms = zip(targets, L1, SSIM, strict=True)
        losses = [a * (sr - y).abs().mean() + b * (1 - ssim(sr, y).mean()) for y, a, b in terms]
        torch.stack(losses).sum().backward()

    return in_turns(lambda: weighted_losses(sr, targets, L1, SSIM)[0].backward(), plain)


def in_turns(fast, plain) -> dict[str, float]:  # type: ignore[no-untyped-def]
    took: dict[str, list[float]] = {"fast": [], "plain": []}
    for _ in range(TURNS):
        for name, function in (("fast", fast), ("plain", plain)):
            began = time.process_time()
            function()
            took[name].append(1000 * (time.process_time() - began))
    return {name: round(statistics.median(values[2:]), 1) for name, values in took.items()}


if __name__ == "__main__":
    main()
