"""The floors that a GPU is held against, by hand."""

import json
from pathlib import Path

import pytest
import torch

from kd_lightning.benchmark.gpu import bytes_per_pixel, floors, main, table
from kd_lightning.models.students import StudentCNN, StudentFast

CEILING = {"flops": 1e15, "bytes": 4e12}  # a round card: 1 PFLOP/s, 4 TB/s


def test_student_cnn_at_1080p_is_320_gflop_and_1_6_gb() -> None:
    lowest = floors(StudentCNN(), 1080, 1920, CEILING)
    assert lowest["arithmetic_ms"] == pytest.approx(0.3201, abs=1e-4)
    maps = (3 + 64) + (64 + 64) + (64 + 64) + (64 + 3)  # read and written, each layer
    assert lowest["memory_ms"] == pytest.approx(maps * 2 * 1080 * 1920 / 4e12 * 1000)


def test_half_does_a_quarter() -> None:
    full, half = (floors(StudentCNN(process=p), 1080, 1920, CEILING) for p in ("full", "half"))
    for floor in full:
        assert half[floor] == pytest.approx(full[floor] / 4)


def test_blocks_are_counted_at_their_size() -> None:
    maps = (12 + 8) + (8 + 8) + (8 + 12)
    assert bytes_per_pixel(StudentFast(width=8, depth=3)) == 2 * maps / 4


def test_the_share_and_both_floors_are_in_the_table() -> None:
    row = {"student": "s", "way": "w", "device_ms": 0.5, "fps": 900.2, "memory_mb": 700.0}
    row |= {"arithmetic_ms": 0.25, "memory_ms": 0.125, "share_of_floor": 0.5}
    result = {"machine": {"device": "card"}, "ceilings": CEILING, "output": [1080, 1920]}
    lines = table({**result, "rows": [row]}).splitlines()
    assert lines[0] == "card: fp16 matrix product 1000 TFLOP/s, copy 4.00 TB/s; 1920x1080 out"
    assert lines[-1] == "| s | w | 0.500 | 0.250 / 0.125 | 50% | 900 | 700 |  |"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["-o", str(tmp_path / "gpu.json")]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_student_is_measured_every_way(tmp_path: Path) -> None:
    assert main(["--frame", "540p", "-o", str(tmp_path / "gpu.json")]) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["way"] for row in rows} == {"eager", "fp16 graph", "fp16 graph, compiled"}
    assert all(row.get("levels_from_fp32", 0) <= 1 for row in rows)
