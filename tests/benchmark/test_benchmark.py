"""Figures of speed, the report, and the command."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.benchmark import __main__ as command
from kd_lightning.benchmark import report, speed
from kd_lightning.benchmark.cases import full_cases, quick_cases
from kd_lightning.benchmark.speed import Case
from kd_lightning.deploy.artifact import save_artifact
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
    result = speed.run_case(case)
    assert "error" not in result
    assert result["network_ms"]["median"] > 0
    assert result["gmac"] == pytest.approx(9 * 96 / 4 * 540 * 960 / 1e9)
    assert 0 < result["share_of_peak"] < 2


def test_a_case_that_cannot_run_says_why() -> None:
    result = speed.run_case(Case("none", "student", "StudentNone", "540p"))
    assert "StudentNone" in result["error"]


def test_quick_is_part_of_full() -> None:
    full = [(c.method, c.frame) for c in full_cases()]
    quick = [(c.method, c.frame) for c in quick_cases()]
    assert set(quick) <= set(full)
    assert len(quick) < len(full) == len(set(full))


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

    def measured(case: Case) -> dict:
        figures = {"network_ms": timing, "frame_ms": timing, "fps": 100.0, "gmac": 1.0}
        figures |= {"share_of_peak": 0.5, "parameters": 1234, "memory_mb": 5.0}
        return {"method": case.method, "frame": case.frame, **figures}

    monkeypatch.setattr(command, "run_case", measured)
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
        "teacher",
    }
    page = (out / "benchmark.html").read_text()
    assert not re.search(r"(src|href)='(?!data:)", page)
    assert page.count("<img") == 2
    assert sorted(p.name for p in out.iterdir()) == [
        "benchmark.html",
        "benchmark.json",
        "benchmark.md",
        "mine.png",
        "quality_time.png",
    ]


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
