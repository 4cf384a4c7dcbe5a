"""The notebooks run from top to bottom."""

import json
from pathlib import Path

import matplotlib
import pytest

from tests.runs import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(notebook.parent)
    namespace: dict[str, object] = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), notebook.name, "exec"), namespace)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_with_small_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert any("image/png" in out.get("data", {}) for c in cells for out in c.get("outputs", ()))
    assert notebook.stat().st_size < 250_000


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
