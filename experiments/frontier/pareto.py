"""Decibels against milliseconds: the students that ship, and peers, on the user's engine.

python experiments/frontier/pareto.py writes pareto.json and pareto.png here and prints a table.
One OpenVINO graph each, 8-bit 540p frame to 8-bit 1080p frame, in turns (see shapes.py). Students
run as the package runs them; their PSNR-Y on Set5 is what their files state. Peers are written
down from their papers with random weights, for speed; their PSNR-Y is the papers' (LR by MATLAB).
Peers for luma alone are timed on one channel: conversions of colour and the enlarging of chroma,
which a user needs beside them, are not counted.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shapes import HEIGHT, TURNS, WIDTH, Values, conv, graph, prelu, relu, take_turns

from kd_lightning.benchmark.machine import describe
from kd_lightning.deploy.backends import open_weights
from kd_lightning.deploy.openvino_graph import inference
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.pretrained import shipped

HERE = Path(__file__).parent


def main() -> None:
    torch.set_grad_enabled(False)
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    luma = np.ascontiguousarray(frame[..., :1])
    calls: dict[str, Callable[[], Any]] = {}
    decibels: dict[str, float] = {}
    for name, file in shipped().items():
        metrics = load_artifact(file)[1].get("metrics", {})
        if "set5" in metrics:
            decibels[name] = metrics["set5"]["student"]["psnr_y"]
            runner = open_weights(file, "openvino", "cpu", "bf16")
            calls[name] = lambda runner=runner: runner.frame(torch.from_numpy(frame))
    for name, (body, channels, psnr) in PEERS.items():
        decibels[name] = psnr
        infer = inference(graph(body, channels), "bf16")
        calls[name] = lambda infer=infer, x=(luma if channels == 1 else frame): infer(x)
    rows = {
        name: {"ms": ms, "set5_psnr_y": decibels[name], "peer": name in PEERS}
        for name, ms in take_turns(calls).items()
    }
    result = {"machine": describe(), "turns": TURNS, "rows": rows}
    (HERE / "pareto.json").write_text(json.dumps(result, indent=1) + "\n")
    plot(rows)
    for name, row in sorted(rows.items(), key=lambda item: item[1]["ms"]):
        print(f"{name:24} {row['ms']:8.1f} ms {row['set5_psnr_y']:7.2f} dB")


def ecbsr(blocks: int, width: int) -> Callable[[Values], Values]:
    """ECBSR as deployed (Zhang et al. 2021): 3x3 convolutions, PReLU, the repeated input added."""
    from openvino import opset13 as op

    def body(x: Values) -> Values:
        y = x
        for _ in range(blocks + 1):
            y = prelu(conv(y, width))
        return op.add(conv(y, 4), op.concat([x] * 4, 1))

    return body


def sesr(blocks: int, width: int = 16) -> Callable[[Values], Values]:
    """SESR as deployed (Bhardwaj et al. 2022): 5x5, 3x3 convolutions, 5x5, a long and an input
    skip."""
    from openvino import opset13 as op

    def body(x: Values) -> Values:
        first = y = prelu(conv(x, width, 5))
        for _ in range(blocks):
            y = prelu(conv(y, width))
        return op.add(conv(op.add(y, first), 4, 5), op.concat([x] * 4, 1))

    return body


def on_first(x: Values, channels: int, block: Callable[[Values], Values]) -> Values:
    """`block` of the first channels, the others as they are."""
    from openvino import opset13 as op

    total = x.get_output_partial_shape(0)[1].get_length()
    if channels == total:
        return block(x)
    return op.concat([block(between(x, 0, channels)), between(x, channels, total)], 1)


def between(x: Values, start: int, stop: int) -> Values:
    """These channels."""
    from openvino import opset13 as op

    return op.slice(x, *(np.array([n]) for n in (start, stop, 1, 1)))


def gate(x: Values) -> Values:
    from openvino import opset13 as op

    return op.sigmoid(between(x, 0, 1))


def plainusr_ultra(width: int = 16, middle: int = 8) -> Callable[[Values], Values]:
    """PlainUSR-U as deployed (Wang et al. 2024): 13.6 K parameters at scale 2."""
    from openvino import opset13 as op

    def body(x: Values) -> Values:
        def plain(y: Values) -> Values:
            return conv(relu(conv(y, width)), width)

        def attentive(y: Values) -> Values:
            y = conv(relu(conv(y, middle)), middle)
            return op.multiply(op.multiply(y, gate(y)), op.sigmoid(conv(y, middle)))

        y = on_first(conv(x, width + 3), width, plain)
        y = on_first(y, middle, attentive)
        return conv(on_first(y, width, plain), 12)

    return body


def plainusr_small(widths: tuple[int, ...] = (32, 16, 8, 16, 32)) -> Callable[[Values], Values]:
    """PlainUSR-S as deployed (Wang et al. 2024): 57.2 K parameters at scale 2."""
    from openvino import opset13 as op

    def importance(x: Values) -> Values:
        """Soft pooling (7x7 at stride 3) of 4 channels, two convolutions, enlarged, as a gate."""
        fan_out = x.get_output_partial_shape(0)[1].get_length()
        y = conv(x, 4, 1)
        weight = op.exp(y)

        def pooled(z: Values) -> Values:
            return op.avg_pool(z, [3, 3], [0, 0], [0, 0], [7, 7], True)

        y = op.divide(pooled(op.multiply(weight, y)), pooled(weight))
        y = op.sigmoid(conv(conv(y, 4, stride=2), fan_out))
        size = np.array([HEIGHT, WIDTH])
        return op.interpolate(y, size, "linear_onnx", "sizes", axes=np.array([2, 3]))

    def block(width: int) -> Callable[[Values], Values]:
        def run(x: Values) -> Values:
            y = conv(relu(conv(x, width)), width)
            return op.multiply(op.multiply(y, importance(y)), gate(y))

        return run

    def body(x: Values) -> Values:
        y = conv(x, widths[0] + 3)
        for width in widths:
            y = on_first(y, width, block(width))
        return conv(y, 12)

    return body


# body, channels, PSNR-Y on Set5 as published
PEERS = {
    "ECBSR-M4C16 (luma)": (ecbsr(4, 16), 1, 37.33),
    "SESR-M7 (luma)": (sesr(7), 1, 37.47),
    "SESR-M11 (luma)": (sesr(11), 1, 37.58),
    "PlainUSR-U": (plainusr_ultra(), 3, 37.10),
    "PlainUSR-S": (plainusr_small(), 3, 37.64),
}


def plot(rows: dict[str, dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=120)
    for peer, marker, label in ((False, "o", "kd_lightning"), (True, "x", "peers")):
        points = {name: row for name, row in rows.items() if row["peer"] == peer}
        axes.scatter(
            [row["ms"] for row in points.values()],
            [row["set5_psnr_y"] for row in points.values()],
            marker=marker,
            label=label,
        )
        for name, row in points.items():
            place = (row["ms"], row["set5_psnr_y"])
            axes.annotate(name, place, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    ticks = [10, 20, 30, 50, 100, 200, 500]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("ms for a 1080p frame, 8 bits to 8 bits, 2 CPU threads, OpenVINO")
    axes.set_ylabel("PSNR-Y on Set5, dB")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(HERE / "pareto.png")


if __name__ == "__main__":
    main()
