"""Every configuration that ships composes, and every experiment trains."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from PIL import Image

from kd_lightning.config import check_keys
from kd_lightning.distill.run import train
from tests.runs import CONF, TINY, composed, tiny_run

EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """A folder in which every data configuration finds HR images and teacher outputs."""
    root = tmp_path_factory.mktemp("everything")
    for stem in ("train", "valid", "DIV2K_train", "DIV2K_valid", "test"):
        for parent in (root, root / "photos", root / "bsds"):
            for kind in ("HR", "teacher"):
                folder = parent / f"{stem}_{kind}"
                folder.mkdir(parents=True)
                Image.fromarray(photo[100:180, 200:290]).save(folder / "0001.png")
    return root


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains_for_two_steps(
    experiment: str, tmp_path: Path, everything: Path
) -> None:
    overrides = ["logger=csv", "trainer.limit_train_batches=2", *TINY, "trainer.max_epochs=1"]
    data = [f"data.root={everything}", "teacher=folder"]
    if experiment.startswith("kd_call"):  # whose photographs have no teacher's outputs beside them
        data = [f"data.source.photos={everything}", f"data.root={tmp_path}/soft"]
    cfg = composed(tmp_path, f"experiment={experiment}", *data, *overrides)
    train(cfg)
    with (tmp_path / "metrics.csv").open() as file:
        steps = {row["step"] for row in csv.DictReader(file) if row["train/loss"]}
    assert steps == {"0", "1"}
    assert (tmp_path / "student.safetensors").is_file()


@pytest.mark.parametrize("debug", options("debug"))
def test_every_debug_option_trains(debug: str, tmp_path: Path, photos: Path) -> None:
    train(tiny_run(tmp_path, photos, f"debug={debug}"))
    assert (tmp_path / "student.safetensors").is_file()


@pytest.mark.parametrize("student", options("student"))
def test_every_student_is_built_with_the_attributes_that_a_network_needs(student: str) -> None:
    network = instantiate(composed(Path("x"), f"student={student}").student)
    assert network.scale == 2
    assert isinstance(network.takes_lr, bool)
    assert network.radius > 0
    assert network.multiple_of > 0


GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
OPTIONS = [(group, option) for group in GROUPS if group != "hydra" for option in options(group)]


@pytest.mark.parametrize(
    ("group", "option"), [pair for pair in OPTIONS if pair[1] not in ("base", "__init__")]
)
def test_every_option_of_every_group_composes_and_holds_only_valid_keys(
    group: str, option: str
) -> None:
    check_keys(composed(Path("x"), f"{group}={option}"))


@pytest.mark.parametrize("student", [*options("student"), "mine"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_no_experiment_sets_keys_that_only_some_students_have(
    experiment: str, student: str, tmp_path: Path
) -> None:
    mine = "student={_target_: kd_lightning.models.students.StudentFast, scale: 2}"
    choice = f"student={student}" if student != "mine" else f"+{mine}"
    removed = ["~student"] if student == "mine" else []
    cfg = composed(tmp_path, f"experiment={experiment}", *removed, choice)
    check_keys(cfg)
