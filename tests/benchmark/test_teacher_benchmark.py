"""The teacher's benchmark: every part runs, reports and names no folder of the machine."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from kd_lightning.benchmark.teacher import main
from kd_lightning.models.swinir import SwinIR


@pytest.fixture
def arguments(tmp_path):
    """Two images of two tiles each, and a tiny teacher."""
    generator = np.random.default_rng(0)
    (tmp_path / "HR").mkdir()
    for stem in ("a", "b"):
        pixels = generator.integers(0, 256, (24, 28, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "HR" / f"{stem}.png")
    network = SwinIR(embed_dim=8, depths=[2], num_heads=[2], window_size=4)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    return [
        *("--hr", str(tmp_path / "HR")),
        *("--weights", str(tmp_path / "w.safetensors")),
        *("--out", str(tmp_path / "out")),
    ]


def test_tiles_and_bf16_are_reported_without_the_folders_of_the_machine(arguments, tmp_path):
    assert main(["tiles", *arguments]) == main(["bf16", *arguments]) == 0
    rows = json.loads((tmp_path / "out" / "bf16.json").read_text())["rows"]
    assert [row["image"] for row in rows] == ["a", "b"]
    text = (tmp_path / "out" / "README.md").read_text()
    assert "## tiles" in text and "## bf16" in text and str(tmp_path.parent) not in text


def test_missing_weights_are_one_line(arguments, capsys):
    assert main(["bf16", *arguments, "--weights", "nowhere.safetensors"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere.safetensors: no such file")


@pytest.mark.slow
def test_outputs_equal_basicsrs_where_their_times_are_compared(arguments, tmp_path):
    if importlib.util.find_spec("basicsr") is None:
        pytest.skip("the extra basicsr is not installed")
    assert main(["speed", "--size", "16", "--rounds", "1", *arguments]) == 0
    rows = json.loads((tmp_path / "out" / "speed.json").read_text())["rows"]
    differences = {row["network"]: float(row["largest difference"]) for row in rows}
    assert differences["kd_lightning fp32"] < 1e-4


@pytest.mark.slow
def test_a_div2k_image_fits_in_4_gb_with_swinir_m(tmp_path):
    """At full width, with the default tiles; untiled it would take about 7 GB. The depth is cut to
    two layers for time: what a layer needs is free again when the next begins."""
    program = (
        "import sys; from kd_lightning.benchmark import teacher; "
        "teacher.MEDIUM.update(depths=[2], num_heads=[6]); sys.exit(teacher.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "memory", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    (row,) = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert row["output"] == "2040x1404" and row["tiles run"] == "1 of 12"
    assert 0.5 < row["peak memory, GB"] < 4
