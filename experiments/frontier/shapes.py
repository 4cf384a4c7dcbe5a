"""Time network shapes as one OpenVINO bf16 graph, an 8-bit 540p frame to an 8-bit 1080p frame.

python experiments/frontier/shapes.py [NAME ...] writes shapes.json here and prints a table.
Weights are random: speed only. Every shape takes the LR image itself; its skip is a bicubic
convolution; shuffle and rounding are inside. `StudentDirect` is what the package makes of it, in
both of its number formats. All are compiled first and then take turns, so that a slow minute of
the machine falls on each alike; the yardstick, `student_tiny` as the package runs it, takes turns
with them. A time is the median of its turns.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning.benchmark.machine import describe
from kd_lightning.deploy.backends import from_network, open_weights
from kd_lightning.deploy.openvino_graph import inference
from kd_lightning.models.pretrained import shipped
from kd_lightning.models.students import StudentDirect

HEIGHT, WIDTH = 540, 960
TURNS = 15
CPU = torch.device("cpu")
YARDSTICKS = ("student_tiny", "student_fast")
Values = Any  # a node of an OpenVINO graph
generator = np.random.default_rng(0)


def main() -> None:
    torch.set_grad_enabled(False)
    frame = generator.integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    calls: dict[str, Callable[[], Any]] = {}
    files = shipped()
    for name in YARDSTICKS:
        runner = open_weights(files[name], "openvino", "cpu", "bf16")
        calls[name] = lambda runner=runner: runner.frame(torch.from_numpy(frame))
    for name, body in SHAPES.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            infer = inference(graph(body), "bf16")
            calls[name] = lambda infer=infer: infer(frame)
    for width, depth in DIRECT:
        for int8 in (False, True):
            name = f"{width}x{depth} StudentDirect {'int8' if int8 else 'bf16'}"
            if not sys.argv[1:] or name in sys.argv[1:]:
                runner = from_network(direct(width, depth, int8), "openvino", CPU, "bf16")
                calls[name] = lambda runner=runner: runner.frame(torch.from_numpy(frame))
    ms = take_turns(calls)
    rows = {name: {"ms": value, "T": value / ms[YARDSTICKS[0]]} for name, value in ms.items()}
    result = {"machine": describe(), "turns": TURNS, "rows": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    for name, row in rows.items():
        print(f"{name:28} {row['ms']:7.2f} ms {row['T']:6.3f} T")


def direct(width: int, depth: int, int8: bool) -> StudentDirect:
    """With random weights, and the ranges of a step of training."""
    student = StudentDirect(width=width, depth=depth, int8=int8)
    student.train()(torch.rand(1, 3, 64, 64))
    return student.eval()


def take_turns(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Milliseconds of each call: the median of TURNS, after three that do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(TURNS + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 3:
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def graph(body: Callable[[Values], Values], channels: int = 3) -> Any:
    """(1,540,960,channels) uint8 to (1,1080,1920,channels) uint8."""
    import openvino
    from openvino import opset13 as op

    frame = op.parameter([1, HEIGHT, WIDTH, channels], openvino.Type.u8)
    lr = op.transpose(op.convert(frame, "f32"), [0, 3, 1, 2])
    levels = op.convert(op.clamp(op.round(body(lr), "half_to_even"), 0.0, 255.0), "u8")
    large = op.transpose(op.depth_to_space(levels, "blocks_first", 2), [0, 2, 3, 1])
    return openvino.Model([large], [frame])


def conv(x: Values, fan_out: int, side: int = 3, stride: int = 1) -> Values:
    from openvino import opset13 as op

    fan_in = x.get_output_partial_shape(0)[1].get_length()
    weight = generator.normal(0, (side**2 * fan_in) ** -0.5, (fan_out, fan_in, side, side))
    pads = [side // 2] * 2
    out = op.convolution(x, weight.astype(np.float32), [stride] * 2, pads, pads, [1, 1])
    return op.add(out, generator.normal(0, 1, (1, fan_out, 1, 1)).astype(np.float32))


def relu(x: Values) -> Values:
    from openvino import opset13 as op

    return op.relu(x)


def prelu(x: Values) -> Values:
    from openvino import opset13 as op

    channels = x.get_output_partial_shape(0)[1].get_length()
    return op.prelu(x, np.full(channels, 0.1, np.float32))


def silu(x: Values) -> Values:
    from openvino import opset13 as op

    return op.swish(x)


def stack(
    width: int,
    depth: int,
    first: int = 3,
    skip: int = 5,
    activation: Callable[[Values], Values] = relu,
) -> Callable[[Values], Values]:
    """`depth` convolutions, the last one 3x3 to 12 channels; `first`, `skip`: sides of the first
    kernel and of the skip's (0: no skip)."""
    from openvino import opset13 as op

    def body(lr: Values) -> Values:
        x = activation(conv(lr, width, first))
        for _ in range(depth - 2):
            x = activation(conv(x, width))
        x = conv(x, 12)
        return op.add(x, conv(lr, 12, skip)) if skip else x

    return body


def residual(width: int, depth: int) -> Callable[[Values], Values]:
    """Pairs of convolutions with a skip around each pair."""
    from openvino import opset13 as op

    def body(lr: Values) -> Values:
        x = relu(conv(lr, width))
        for _ in range((depth - 2) // 2):
            x = op.add(x, conv(relu(conv(x, width)), width))
        return op.add(conv(x, 12), conv(lr, 12, 5))

    return body


def long_skip(width: int, depth: int) -> Callable[[Values], Values]:
    """The first features are added before the last convolution."""
    from openvino import opset13 as op

    def body(lr: Values) -> Values:
        first = x = relu(conv(lr, width))
        for _ in range(depth - 2):
            x = relu(conv(x, width))
        return op.add(conv(op.add(x, first), 12), conv(lr, 12, 5))

    return body


def span(width: int, depth: int) -> Callable[[Values], Values]:
    """Every third convolution ends in SPAN's gate: (out + in) * (sigmoid(out) - 0.5)."""
    from openvino import opset13 as op

    def body(lr: Values) -> Values:
        x = relu(conv(lr, width))
        for _ in range((depth - 2) // 3):
            out = conv(relu(conv(relu(conv(x, width)), width)), width)
            gate = op.subtract(op.sigmoid(out), np.float32(0.5))
            x = op.multiply(op.add(out, x), gate)
        return op.add(conv(x, 12), conv(lr, 12, 5))

    return body


def product(width: int, depth: int) -> Callable[[Values], Values]:
    """Every second hidden layer is the product of two convolutions."""
    from openvino import opset13 as op

    def body(lr: Values) -> Values:
        x = relu(conv(lr, width))
        for _ in range((depth - 2) // 3):
            x = relu(conv(x, width))
            x = op.multiply(conv(x, width), conv(x, width))
        return op.add(conv(x, 12), conv(lr, 12, 5))

    return body


def one_by_one(width: int, depth: int, wide: int) -> Callable[[Values], Values]:
    """3x3 to `width`, 1x1 to `wide` and ReLU, in turns."""
    from openvino import opset13 as op

    def body(lr: Values) -> Values:
        x = relu(conv(lr, width))
        for _ in range(depth - 2):
            x = conv(relu(conv(x, wide, 1)), width)
        return op.add(conv(x, 12), conv(lr, 12, 5))

    return body


SIZES = [
    *((12, depth) for depth in (5,)),
    *((16, depth) for depth in (2, 3, 4, 5, 6, 7, 8, 9, 11, 13)),
    *((20, depth) for depth in (5, 7)),
    *((24, depth) for depth in (4, 5, 6, 7, 9)),
    *((32, depth) for depth in (3, 4, 5, 6, 7, 9, 11)),
    *((40, depth) for depth in (6,)),
    *((48, depth) for depth in (4, 5, 6, 7)),
    *((64, depth) for depth in (4, 5)),
]
SHAPES = {f"{width}x{depth}": stack(width, depth) for width, depth in SIZES} | {
    "16x5 without skip": stack(16, 5, skip=0),
    "16x5 skip 3x3": stack(16, 5, skip=3),
    "16x5 first 5x5": stack(16, 5, first=5),
    "16x5 first 7x7": stack(16, 5, first=7),
    "16x5 prelu": stack(16, 5, activation=prelu),
    "16x5 silu": stack(16, 5, activation=silu),
    "16x6 residual": residual(16, 6),
    "32x6 residual": residual(32, 6),
    "16x5 long skip": long_skip(16, 5),
    "16x8 span": span(16, 8),
    "16x8 product": product(16, 8),
    "16x5 1x1 to 32": one_by_one(16, 5, 32),
}
DIRECT = [
    (16, 5),
    (16, 7),
    (16, 8),
    (16, 9),
    (16, 13),
    (32, 5),
    (32, 6),
    (32, 9),
    (32, 13),
    (48, 7),
]

if __name__ == "__main__":
    main()
