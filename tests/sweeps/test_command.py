"""sweep.resume: the command line of a sweep is kept in its folder and composed from there."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.errors import UserError
from kd_lightning.imports import VARIABLE, named, without_imports
from kd_lightning.sweeps.command import COMMAND, keep, resumed

OVERRIDES = ["experiment=kd_photos", "loss.alpha=0.5,0.7", "+new=${seed}", "~callbacks.progress"]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder in which a sweep with `--config-dir mine` has been started."""
    sources = [{"path": "pkg://x", "provider": "main"}]
    sources.append({"path": f"file://{tmp_path}/mine", "provider": "command-line"})
    hydra = {
        "runtime": {"config_sources": sources},
        "overrides": {
            "hydra": ["hydra.mode=MULTIRUN", "hydra.sweep.dir=old", "hydra/launcher=joblib"],
            "task": OVERRIDES,
        },
        "sweep": {"dir": str(tmp_path / "sweep")},
    }
    keep(OmegaConf.create({"hydra": hydra}))
    return tmp_path / "sweep"


def test_a_resumed_sweep_has_the_command_line_of_the_first(sweep: Path) -> None:
    assert resumed([f"sweep.resume={sweep}"]) == [
        *("-m", f"--config-dir={sweep.parent}/mine", "hydra/launcher=joblib", *OVERRIDES),
        f'hydra.sweep.dir="{sweep}"',
    ]


def test_what_is_given_beside_replaces_the_same_key_in_its_place(sweep: Path) -> None:
    words = resumed(["-m", f"sweep.resume={sweep}", "hydra/launcher=basic", "trainer.devices=2"])
    assert words[2:] == [
        *("hydra/launcher=basic", *OVERRIDES, "trainer.devices=2", f'hydra.sweep.dir="{sweep}"')
    ]


def test_the_modules_to_import_come_back(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((sweep / COMMAND).read_text())
    (sweep / COMMAND).write_text(json.dumps({**content, "imports": ["own.net"]}))
    words = resumed([f"sweep.resume={sweep}", "--import", "more"])
    monkeypatch.setenv(VARIABLE, "")
    assert "own.net" not in " ".join(without_imports(words))
    assert named() == ["more", "own.net"]


def test_options_keep_their_values(sweep: Path) -> None:
    words = resumed(["--config-dir", "other", f"sweep.resume={sweep}", "trainer.devices=2"])
    assert words[:3] == ["--config-dir", "other", "-m"]
    assert words[-2] == "trainer.devices=2"


def test_other_command_lines_stay_as_they_are() -> None:
    for words in (["-m", "loss.alpha=1,2"], ["sweep.resume=null", "seed=1"]):
        assert resumed(words) == words


def test_a_folder_that_is_no_sweep_is_refused_and_a_job_names_its_sweep(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"sweep\.resume=.*nowhere: .* has no command\.json"):
        resumed(["sweep.resume=nowhere"])
    with pytest.raises(UserError, match=f"its sweep is {sweep}"):
        resumed([f"sweep.resume={sweep}/0"])
