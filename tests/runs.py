"""Composing and running configurations in tests."""

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"

# Small enough that a run takes seconds.
TINY = [
    "data.crop_size=32",
    "data.batch_size=2",
    "data.samples_per_epoch=8",
    "data.num_workers=0",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.check_val_every_n_epoch=1",
    "+trainer.enable_progress_bar=false",
    "~callbacks.progress",
]


def strict_json(text: str) -> Any:
    """What JSON says; ValueError for Infinity and NaN, which Python alone writes and reads."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def composed(folder: Path, *overrides: str) -> DictConfig:
    """The training configuration with a run folder that no Hydra application made."""
    import kd_lightning.config  # noqa: F401  (registers the resolver run_dir)

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[f"run_folder={folder}", *overrides])


def tiny_run(folder: Path, photos: Path, *overrides: str) -> DictConfig:
    """kd_div2k on a few crops of a photograph, teacher outputs from a folder."""
    return composed(
        folder,
        "experiment=kd_div2k",
        "data=photos",
        f"data.root={photos}",
        "teacher=folder",
        "logger=csv",
        *TINY,
        *overrides,
    )
