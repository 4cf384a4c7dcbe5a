"""The notebooks run from top to bottom, and print what is committed with them."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.runs import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_prints_what_is_committed(
    notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the numbers, which training on another machine changes."""
    matplotlib.use("Agg")
    monkeypatch.chdir(notebook.parent)
    namespace: dict[str, object] = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile("".join(cell["source"]), notebook.name, "exec"), namespace)
            streams = (out for out in cell["outputs"] if out["output_type"] == "stream")
            committed = "".join(line for out in streams for line in out["text"])
            assert words(printed.getvalue()) == words(committed)


def test_the_notebook_on_sweeps_finds_the_runs_of_a_sweep_by_their_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of a sweep are called by their numbers, and other runs may lie beside them."""
    small = ROOT / "experiments" / "small_runs"
    for number, name in enumerate(("alpha_0.5", "no_ema", "alpha_1", "output_seed1")):
        shutil.copytree(small / name, tmp_path / str(number))
    monkeypatch.chdir(ROOT / "notebooks")
    cells = json.loads((ROOT / "notebooks" / "02_alpha_sweep.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    namespace: dict[str, Any] = {}
    exec(sources[0], namespace)
    exec(sources[1], namespace | {"SWEEP": tmp_path}, found := {})
    assert {run.folder.name for run in found["alphas"]} == {"0", "2", "3"}


def words(text: str) -> str:
    """`text` without its numbers."""
    return re.sub(r"[\d.]+", "#", text)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_with_small_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert any("image/png" in out.get("data", {}) for c in cells for out in c.get("outputs", ()))
    assert notebook.stat().st_size < 250_000


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
