"""The documentation site: it builds without a warning, and shows every key of the configuration."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.runs import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import config_reference

jsonschema = pytest.importorskip("jsonschema")


def test_the_schema_for_editors_is_up_to_date() -> None:
    stored = json.loads(config_reference.SCHEMA.read_text())
    assert stored == config_reference.schema(), "run python docs/config_reference.py"


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=str)
def test_every_experiment_obeys_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), config_reference.schema())


@pytest.mark.parametrize(
    "wrong", [{"optimiser": {}}, {"loss": {"alpha": "much"}}, {"trainer": {"max_epochs": []}}]
)
def test_the_schema_finds_wrong_keys_and_types(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, config_reference.schema())


def test_the_reference_has_every_file_and_its_values() -> None:
    page = config_reference.reference()
    for path in (ROOT / "conf").glob("*/*.yaml"):
        if path.parent.name != "hydra":
            assert f"### {path.parent.name}={path.stem}\n" in page
    assert "| `alpha` | `0.85` | share of L1 in \\[0, 1\\]; 1 is pure L1 |" in page
    assert "| `presets.veryfast` | `0.6` |" in page


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(r"<(?:script|img|link)[^>]+(?:src|href)=[\"']?https?://")
    for page in tmp_path.glob("*.html"):
        assert not fetched.search(page.read_text()), page.name
    assert "kd_lightning.Enhancer" in (tmp_path / "api.html").read_text()
    assert "teacher_weight" in (tmp_path / "reference.html").read_text()
