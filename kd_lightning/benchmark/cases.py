"""What the benchmark times."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kd_lightning.benchmark.speed import FRAMES, Case
from kd_lightning.deploy.artifact import load_artifact
from kd_lightning.deploy.backends import cpu_has_bf16, open_weights

Network = tuple[str, dict[str, Any]]

NETWORKS: dict[str, Network] = {
    "StudentCNN": ("StudentCNN", {"residual": True}),
    "StudentCNN half": ("StudentCNN", {"residual": True, "process": "half"}),
    "StudentFast": ("StudentFast", {}),
}
PEERS: dict[str, Network] = {  # compact networks of basicsr that a user would take instead
    "SRVGGNetCompact": ("srvgg_arch.SRVGGNetCompact", {"upscale": 2}),
    "EDSR-baseline": (
        "edsr_arch.EDSR",
        {"num_in_ch": 3, "num_out_ch": 3, "num_block": 16, "upscale": 2, "res_scale": 1.0},
    ),
}
FILTERS = {"OpenCV bicubic": "bicubic", "OpenCV Lanczos + unsharp mask": "lanczos"}


def quick_cases() -> list[Case]:
    """Every way to run the students at 1080p, the other sizes by the default way only."""
    cases = eager("1080p") + backends("1080p") + filters("1080p")
    cases += peers("540p", ("SRVGGNetCompact",))
    for frame in FRAMES:
        if frame != "1080p":
            cases += [case for case in backends(frame) if is_default(case)]
    return cases


def full_cases() -> list[Case]:
    """Every way at every size."""
    cases: list[Case] = []
    for frame in FRAMES:
        cases += eager(frame) + backends(frame) + filters(frame) + peers(frame, tuple(PEERS))
    return cases


def student_cases(students: dict[str, Path]) -> list[Case]:
    """1080p times for the students that are scored, under the names of the quality table."""
    cases = []
    for name, path in students.items():
        if path.suffix != ".safetensors":
            continue
        _, metadata = load_artifact(path)
        network, arguments = metadata["architecture"], metadata["arguments"]
        default = open_weights(path, device="cpu").name.split()
        for label, backend, precision in (
            ("torch fp32", "torch", "fp32"),
            ("default", default[0], default[-1]),
        ):
            method = f"{name} {label}"
            cases.append(Case(method, "student", network, "1080p", arguments, backend, precision))
    return cases


def eager(frame: str) -> list[Case]:
    return [
        Case(f"{name} eager", "eager", architecture, frame, arguments)
        for name, (architecture, arguments) in NETWORKS.items()
    ]


def backends(frame: str) -> list[Case]:
    """The students through every installed backend, in every precision that it does here."""
    ways = [("torch", "fp32")]
    if find_spec("onnxruntime"):
        ways.append(("onnx", "fp32"))
    if find_spec("openvino"):
        ways.append(("openvino", "fp32"))
    if cpu_has_bf16():
        ways += [(name, "bf16") for name in ("torch", "openvino") if find_spec(name)]
    return [
        Case(f"{name} {way} {precision}", "student", network, frame, arguments, way, precision)
        for name, (network, arguments) in NETWORKS.items()
        for way, precision in ways
    ]


def filters(frame: str) -> list[Case]:
    if not find_spec("cv2"):
        return []
    cases = [Case(name, "opencv", kind, frame) for name, kind in FILTERS.items()]
    network, arguments = NETWORKS["StudentFast"]
    return [*cases, Case("StudentFast OpenCV DNN", "opencv dnn", network, frame, arguments)]


def peers(frame: str, names: tuple[str, ...]) -> list[Case]:
    if not find_spec("basicsr"):
        return []
    return [
        Case(f"basicsr {name}", "basicsr", PEERS[name][0], frame, PEERS[name][1]) for name in names
    ]


def is_default(case: Case) -> bool:
    """Whether `case` is the way that --backend auto --precision auto takes here."""
    backend = "openvino" if find_spec("openvino") else "torch"
    return (case.backend, case.precision) == (backend, "bf16" if cpu_has_bf16() else "fp32")
