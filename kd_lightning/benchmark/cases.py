"""What the benchmark times."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from kd_lightning.benchmark.speed import FRAMES, Case, network_of
from kd_lightning.deploy.backends import automatic, backends, cpu_has_bf16
from kd_lightning.models.artifact import load_artifact

CPU = torch.device("cpu")
PEERS: dict[str, tuple[str, dict[str, Any]]] = {  # compact networks of basicsr for scale 2
    "SRVGGNetCompact": ("srvgg_arch.SRVGGNetCompact", {"upscale": 2}),
    "EDSR-baseline": (
        "edsr_arch.EDSR",
        {"num_in_ch": 3, "num_out_ch": 3, "num_block": 16, "upscale": 2, "res_scale": 1.0},
    ),
}
FILTERS = {"OpenCV bicubic": "bicubic", "OpenCV Lanczos + unsharp mask": "lanczos"}
BASE = Case("StudentCNN eager", "eager", "StudentCNN", "1080p", {"residual": True})
HALF = Case("StudentCNN half", "student", "StudentCNN", "1080p", {"process": "half"})


def shapes(students: Mapping[str, Path]) -> dict[str, Case]:
    """One case for each student that is an artifact; those of the same shape share the first
    one's, because time does not depend on the weights."""
    found: dict[str, Case] = {}
    for name, path in students.items():
        if path.suffix != ".safetensors":
            continue
        _, metadata = load_artifact(path)
        case = Case(name, "student", metadata["architecture"], "1080p", metadata["arguments"])
        same = (c for c in found.values() if replace(c, method=name) == case)
        found[name] = next(same, case)
    return found


def quick_cases(students: Mapping[str, Path], int8: Mapping[str, Path]) -> list[Case]:
    """Every way to run the students at 1080p (OpenCV's for the last of them), the other sizes by
    the default way only."""
    plain = distinct(shapes(students).values())
    cases = [BASE, *ways(plain), *quantized(plain, int8), *filters(), *opencv_dnn(plain[-1:])]
    cases += at("540p", peers("SRVGGNetCompact"))
    default = [case for case in ways(plain) if case.method.endswith(" default")]
    return cases + [case for frame in FRAMES if frame != "1080p" for case in at(frame, default)]


def full_cases(students: Mapping[str, Path], int8: Mapping[str, Path]) -> list[Case]:
    """Every way at every size."""
    plain = distinct(shapes(students).values())
    eager = [replace(case, method=f"{case.method} eager", kind="eager") for case in plain]
    cases = [BASE, *eager, *ways([*plain, HALF]), *quantized(plain, int8)]
    cases += [*filters(), *opencv_dnn(plain), *peers(*PEERS)]
    return [case for frame in FRAMES for case in at(frame, cases)]


def ways(students: Iterable[Case]) -> list[Case]:
    """The students through every installed backend, in every precision that it does here; "default"
    is what --backend auto --precision auto takes."""
    found = []
    for case in students:
        network = network_of(case)
        able = [
            (backend.name, precision)
            for backend in backends()
            if backend.installed() and backend.supports(network) and backend.suits(network, "fp32")
            for precision in backend.precisions(CPU)
            if precision != "bf16" or cpu_has_bf16()
        ]
        best = automatic(network, CPU)
        for backend, precision in able:
            label = "default" if (backend, precision) == best else f"{backend} {precision}"
            method = f"{case.method} {label}"
            found.append(replace(case, method=method, backend=backend, precision=precision))
    return found


def quantized(students: Iterable[Case], int8: Mapping[str, Path]) -> list[Case]:
    """The students' INT8 exports, for those in `int8`."""
    return [
        replace(
            case,
            method=f"{case.method} int8",
            backend="openvino",
            precision="int8",
            weights=str(int8[case.method]),
        )
        for case in students
        if case.method in int8
    ]


def filters() -> list[Case]:
    if not find_spec("cv2"):
        return []
    return [Case(name, "opencv", kind, "1080p") for name, kind in FILTERS.items()]


def opencv_dnn(students: Iterable[Case]) -> list[Case]:
    if not find_spec("cv2"):
        return []
    return [
        replace(case, method=f"{case.method} OpenCV DNN", kind="opencv dnn") for case in students
    ]


def peers(*names: str) -> list[Case]:
    if not find_spec("basicsr"):
        return []
    return [Case(f"basicsr {n}", "basicsr", PEERS[n][0], "1080p", PEERS[n][1]) for n in names]


def at(frame: str, cases: Iterable[Case]) -> list[Case]:
    return [replace(case, frame=frame) for case in cases]


def distinct(cases: Iterable[Case]) -> list[Case]:
    return list({case.method: case for case in cases}.values())
