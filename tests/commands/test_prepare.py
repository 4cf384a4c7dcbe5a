"""kd-prepare and the data configurations."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from kd_lightning.commands.prepare import prepare
from kd_lightning.config import check_keys
from kd_lightning.errors import UserError
from tests.data.small_data import picture

ROOT = Path(__file__).parents[2]
DATA_SETS = sorted(path.stem for path in (ROOT / "conf" / "data").glob("*.yaml"))


def configuration(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("prepare", overrides=["teacher=none", *overrides])


@pytest.mark.parametrize("name", [name for name in DATA_SETS if name != "base"])
def test_every_data_configuration_has_only_known_keys(name: str) -> None:
    cfg = configuration(f"data={name}", "data.root=some/folder")
    check_keys(cfg)
    assert "test" in cfg.data and "train" in cfg.data


def test_prepare_then_check_then_repair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(40, 40, number)).save(path)
    settings = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.split=0.3"]
    settings.append(f"data.cache_dir={tmp_path / 'cache'}")

    prepare(configuration(*settings))
    prepare(configuration(*settings, "check=true"))
    assert "every stored file is as it was written" in capsys.readouterr().out

    damaged = sorted((tmp_path / "cache" / "store").rglob("*.npy"))[0]
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(UserError, match="run the same command without check=true"):
        prepare(configuration(*settings, "check=true"))
    assert str(damaged) in capsys.readouterr().out.replace("\n", "")

    prepare(configuration(*settings))
    prepare(configuration(*settings, "check=true"))


def test_what_the_loss_does_not_use_of_a_teacher_is_not_asked_for(
    tmp_path: Path, photos: Path
) -> None:
    data = shutil.copytree(photos, tmp_path / "data")
    shutil.rmtree(data / "train_teacher")
    words = ["data=photos", f"data.root={data}", "teacher=folder", f"data.cache_dir={tmp_path}"]
    with pytest.raises(UserError, match="train_teacher"):
        prepare(configuration(*words))
    for check in ("false", "true"):
        prepare(configuration(*words, "loss.teacher_weight=0", f"check={check}"))


def test_a_wrong_value_is_named_as_in_training() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size=foo: give a whole number"):
        prepare(configuration("data=samples", "data.batch_size=foo"))
