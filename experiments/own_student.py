"""Whether a student of one's own runs as fast as ours: the layers of StudentFast in another class.

`python experiments/own_student.py` times both, and the same class without its declarations, one
call of each in turn on one thread, on 8-bit frames of 160x96 to 320x192, by every backend and
precision that the machine has; writes own_student.json beside this file. The time is the process's,
which other work on the machine changes little.
"""

import json
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.benchmark.machine import describe
from kd_lightning.deploy.backends import backends, cpu_has_bf16, from_network
from kd_lightning.deploy.enhance import enhance
from kd_lightning.models.network import Network
from kd_lightning.models.students import StudentFast

ROUNDS = 21
CPU = torch.device("cpu")
WIDTH, DEPTH, SIDE = 32, 9, 2  # as student_fast


class Own(Network):
    """As a user may write it; `unshuffle_factor` is what it says about itself."""

    scale = 2
    takes_lr = False
    multiple_of = SIDE
    radius = SIDE * DEPTH + SIDE - 1

    def __init__(self, unshuffle_factor: int) -> None:
        super().__init__()
        self.unshuffle_factor = unshuffle_factor
        channels = [3 * SIDE**2, *[WIDTH] * (DEPTH - 1), 3 * SIDE**2]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(channels):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % SIDE, 0, -height % SIDE), mode="replicate")
        sr = x + F.pixel_shuffle(self.body(F.pixel_unshuffle(x, SIDE)), SIDE)
        return sr[..., :height, :width]


def measure(backend: str, precision: str) -> dict[str, Any]:
    """Milliseconds of processor time of each, and the quartiles of the ratios of neighbouring
    calls."""
    torch.manual_seed(0)
    networks = {"ours": StudentFast(), "own": Own(SIDE), "own, undeclared": Own(0)}
    for network in networks.values():
        network.load_state_dict(networks["ours"].state_dict())
    runners = {
        name: from_network(network.eval(), backend, CPU, precision)
        for name, network in networks.items()
    }
    frame = torch.randint(0, 256, (96, 160, 3), dtype=torch.uint8).numpy()
    times: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(ROUNDS + 2):  # the first two compile
        for name, runner in runners.items():
            start = time.process_time()
            enhance(runner, frame)
            if number >= 2:
                times[name].append(1000 * (time.process_time() - start))
    row: dict[str, Any] = {"backend": backend, "precision": precision}
    row["ms"] = {name: round(statistics.median(values), 1) for name, values in times.items()}
    for name in ("own", "own, undeclared"):
        ratios = [b / a for a, b in zip(times["ours"], times[name], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        row[f"{name} / ours"] = [round(value, 3) for value in quartiles]
    return row


def main() -> None:
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    ways = [
        (backend.name, precision)
        for backend in backends()
        for precision in backend.precisions(CPU)
        if backend.installed() and (precision != "bf16" or cpu_has_bf16())
    ]
    rows = []
    for way in ways:
        rows.append(measure(*way))
        print(json.dumps(rows[-1]), flush=True)
    result = {"machine": describe(), "rounds": ROUNDS, "rows": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
