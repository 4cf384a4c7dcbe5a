"""The notebooks run from top to bottom, and print what is committed with them."""

import contextlib
import io
import json
import re
from pathlib import Path

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
