"""A job that starts again finds what its earlier try left."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import DictConfig

from kd_lightning.distill.job import finished, job
from kd_lightning.distill.results import config_hash
from kd_lightning.distill.run import resolved
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import save_artifact
from tests.runs import composed

CODE = {
    "own_class": """
from tests.own_students import PlainStudent

class Own(PlainStudent):
    pass
""",
    "own_maker": """
def make(scale, width):
    from own_class import Own
    return Own(scale, width)
""",
}
OWN = ("+student.width=4", "~student.residual", "~student.process", "~student.rep")


@pytest.fixture(params=["own_class.Own", "own_maker.make"])
def done(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DictConfig]:
    """A finished run's configuration, in a process that has not imported its student's class."""
    for name, code in CODE.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    cfg = composed(
        run,
        "data=photos",
        "data.root=photos",
        "teacher=none",
        f"student._target_={request.param}",
        *OWN,
    )
    network = import_module("own_class").Own(2, 4)
    header = {"config_sha256": config_hash(resolved(cfg))}
    save_artifact(run / "student.safetensors", network, {"scale": 2, "width": 4}, header)
    forget()
    yield cfg
    forget()


def forget() -> None:
    for name in CODE:
        sys.modules.pop(name, None)


def test_a_finished_run_of_a_students_own_class_is_done(
    done: DictConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert job(done) is None
    assert "done before: " in capsys.readouterr().out


def test_the_run_of_another_configuration_is_not_done(done: DictConfig) -> None:
    done.seed += 1
    assert not finished(done, Path(done.run_folder))


def test_a_damaged_artifact_of_a_finished_run_is_made_again_or_named(done: DictConfig) -> None:
    artifact = Path(done.run_folder) / "student.safetensors"
    artifact.write_bytes(artifact.read_bytes()[:-8])
    last = Path(done.run_folder) / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    assert not finished(done, Path(done.run_folder))
    last.unlink()
    with pytest.raises(UserError, match=r"student\.safetensors: not a readable"):
        finished(done, Path(done.run_folder))
