"""Figures of speed, the report, and the command."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from kd_lightning.benchmark import __main__ as command
from kd_lightning.benchmark import readme, report, speed
from kd_lightning.benchmark.cases import full_cases, quick_cases, shapes
from kd_lightning.benchmark.speed import Case
from kd_lightning.deploy.onnx_graph import to_onnx
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.lookup import import_modules
from kd_lightning.models.network import fuse
from kd_lightning.models.pretrained import shipped
from kd_lightning.models.students import StudentCNN, StudentFast


def test_multiply_adds_are_the_known_ones() -> None:
    assert speed.macs_per_pixel(StudentCNN()) == 77_184
    assert speed.macs_per_pixel(StudentFast(width=8, depth=2)) == 9 * (12 * 8 + 8 * 12) / 4


def test_timing_is_ordered_and_bounded() -> None:
    result = speed.timed(lambda: None)
    assert result["fastest"] <= result["median"] <= result["p95"]
    assert 3 <= result["repetitions"] <= speed.ENOUGH


def test_a_case_is_measured_in_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"width": 4, "depth": 2}
    case = Case("tiny", "student", "StudentFast", "540p", arguments, "torch", "fp32")
    result = speed.run_case(case, {"fp32": 1e6, "bf16": 1.0})
    assert "error" not in result
    assert result["network_ms"]["median"] > 0
    assert result["gmac"] == pytest.approx(9 * 96 / 4 * 540 * 960 / 1e9)
    assert result["share_of_peak"] == result["gflops"] / 1e6


def test_a_case_that_cannot_run_says_why() -> None:
    result = speed.run_case(Case("none", "student", "StudentNone", "540p"), {})
    assert "StudentNone" in result["error"]


def test_a_student_of_ones_own_is_measured_where_its_module_is_named() -> None:
    case = Case("own", "student", "tests.own_students.PlainStudent", "540p", {"width": 2})
    assert speed.run_case(case, {}, ["tests.own_students"])["parameters"] == 2 * 27 + 2 + 3 * 18 + 3


def test_quick_is_part_of_full() -> None:
    students = shipped()
    full = [(c.method, c.frame) for c in full_cases(students, students)]
    quick = [(c.method, c.frame) for c in quick_cases(students, students)]
    assert set(quick) <= set(full)
    assert len(quick) < len(full) == len(set(full))


def test_every_student_that_ships_is_timed_once_per_shape(tmp_path: Path) -> None:
    sizes = {"a": {"width": 4}, "b": {"width": 4}, "c": {"width": 5}}
    files = {
        name: save_artifact(tmp_path / f"{name}.safetensors", StudentFast(**size), size)
        for name, size in sizes.items()
    }
    assert {name: case.method for name, case in shapes(files).items()} == dict(a="a", b="a", c="c")
    timed = {case.method for case in quick_cases(files, {})}
    assert {"a torch fp32", "a default", "c default"} <= timed
    assert not any(method.startswith("b ") for method in timed)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_is_timed_computes_in_as_many_bits_as_what_ships(name: str) -> None:
    """Layer for layer: a network that has seen no image yet rounds none of its activations."""
    case = shapes({name: shipped()[name]})[name]
    timed, ships = speed.network_of(case), load_artifact(shipped()[name])[0]
    assert quantizers(timed) == quantizers(fuse(ships))


@pytest.mark.parametrize("int8", [False, True])
def test_a_student_of_ones_own_that_does_not_train_on_any_image_is_timed(int8: bool) -> None:
    import_modules(["tests.own_students"])
    case = Case("own", "student", "tests.own_students.Squeezed", "540p", {"int8": int8})
    network = speed.network_of(case)
    assert speed.macs_per_pixel(network) > 300


def quantizers(network: torch.nn.Module) -> int:
    """Nodes of the exported graph that round to 8 bits."""
    graph = onnx.load_from_string(to_onnx(network)).graph
    return sum(node.op_type == "QuantizeLinear" for node in graph.node)


def test_pareto_front_holds_what_nothing_beats() -> None:
    points = {"a": (10.0, 30.0), "b": (20.0, 29.0), "c": (30.0, 35.0), "d": (30.0, 34.0)}
    assert report.pareto(points) == ["a", "c"]


def test_command_writes_json_table_picture_and_page(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = tmp_path / "photos_HR"
    folder.mkdir()
    small = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(small).resize((192, 160), Image.Resampling.BICUBIC).save(folder / "p.png")
    torch.manual_seed(0)
    arguments = {"width": 4, "depth": 2}
    weights = save_artifact(tmp_path / "s.safetensors", StudentFast(**arguments), arguments)
    timing = {"median": 10.0, "p95": 12.0, "fastest": 9.0, "repetitions": 3}

    def measured(case: Case, peaks: dict, imports: list[str]) -> dict:
        figures = {"network_ms": timing, "frame_ms": timing, "fps": 100.0, "gmac": 1.0}
        figures |= {"share_of_peak": 0.5, "parameters": 1234, "memory_mb": 5.0}
        return {"method": case.method, "frame": case.frame, **figures}

    monkeypatch.setattr(command, "run_case", measured)
    monkeypatch.setattr(command, "int8_exports", lambda *_: {})
    out = tmp_path / "out"
    options = ["--set", f"mine={folder}", "--student", f"tiny={weights}", "-o", str(out)]
    assert command.main(options) == 0
    printed = capsys.readouterr().out
    assert f"page: {out / 'benchmark.html'}" in printed
    assert re.search(r"\| tiny torch fp32 \| 0\.\d{4} \| \d\d\.\d\d", printed)
    figures = json.loads((out / "benchmark.json").read_text())
    assert figures["machine"]["versions"]["torch"] == version("torch")
    assert set(figures["quality"]["mine"]["scores"]) == {
        "bicubic",
        "tiny torch fp32",
        "tiny default",
        "bundled teacher",
    }
    assert figures["quality"]["mine"]["scores"]["tiny default"]["levels_from_fp32"] <= 1
    text = (out / "benchmark.json").read_text() + (out / "benchmark.md").read_text()
    assert str(tmp_path) not in text
    page = (out / "benchmark.html").read_text()
    assert not re.search(r"(src|href)='(?!data:)", page)
    assert page.count("<img") == 3
    assert sorted(p.name for p in out.iterdir()) == [
        "astronaut.png",
        "benchmark.html",
        "benchmark.json",
        "benchmark.md",
        "quality_time.png",
        "rocket.png",
    ]
    assert re.search(r"\| tiny \| 1,234 \| 1\.0 \| 0\.\d{4} \|.*\| 10 ms \|", readme.table(figures))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "photos"], "write NAME=PATH"),
        (["--student", "s=none.safetensors"], "does not exist"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments: list[str], message: str, capsys) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_readme_shows_the_committed_figures() -> None:
    root = Path(__file__).parents[2]
    committed = root / readme.RESULT
    if not committed.is_file():
        pytest.skip("no benchmark committed")
    text = (root / "README.md").read_text()
    assert readme.rewrite(text, json.loads(committed.read_text())) == text


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(UserError, match="<!-- benchmark -->"):
        readme.rewrite("# Title\n", {"speed": [], "quality": {}, "machine": {}})
