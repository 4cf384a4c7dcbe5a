"""What the documentation tells people to type."""

import re
import shlex

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from kd_lightning.config import CONFIG, check_keys, dotted_keys
from tests.runs import ROOT

PAGES = [ROOT / "README.md", ROOT / "experiments" / "README.md", *(ROOT / "docs").glob("*.md")]
COMMAND = re.compile(r"^(?:python (train|prepare)\.py|kd-(train|prepare)) (.+)$", re.MULTILINE)
PLACES = {"$SMALL": "experiment=kd_photos student=student_tiny", "$L1": "loss.alpha=1"}


def commands() -> list[tuple[str, str]]:
    """(configuration, words) of each command line that needs no files of the reader's own."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for short, words in PLACES.items():
            text = text.replace(short, words)
        matches = COMMAND.findall(text)
        found += [(train or prepare, words) for train, prepare, words in matches]
    return [(name, words) for name, words in found if "--config-dir" not in words]


def test_there_are_commands() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize(("name", "words"), commands())
def test_every_training_command_composes(name: str, words: str) -> None:
    overrides = [word for word in shlex.split(words, comments=True) if "=" in word]
    ranges = []
    if "-m" in shlex.split(words, comments=True):
        ranges = [word.split("=")[0] for word in overrides if "(" in word]
        overrides = [word.split(",")[0] for word in overrides if "(" not in word]
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        cfg = compose(name, overrides=["run_folder=x", *overrides])
    check_keys(cfg)
    assert {*ranges} <= {*dotted_keys(cfg)}


def test_every_file_that_the_pages_name_exists() -> None:
    name = re.compile(r"`((?:docs|experiments|tests|conf|kd_lightning)/[\w./-]+)`")
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        for found in name.findall(page.read_text()):
            assert "NAME" in found or (ROOT / found).exists(), f"{page.name}: {found}"


def test_every_link_and_image_of_a_page_exists() -> None:
    """Those to other sites cannot be known here; MkDocs checks those within its own."""
    link = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
    pages = [*ROOT.glob("*.md"), *(ROOT / "experiments").rglob("*.md")]
    generated = {"reference.md", "results.md"}
    for page in (*pages, *(ROOT / "docs").glob("*.md")):
        for found in link.findall(page.read_text()):
            assert found in generated or (page.parent / found).exists(), f"{page}: {found}"


def test_python_of_the_readme_runs(photo: np.ndarray) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {"image": photo[:40, :50]}
    exec(code, names)
    assert np.asarray(names["large"]).shape == (80, 100, 3)
