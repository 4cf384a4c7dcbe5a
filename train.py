"""Train a student: `python train.py experiment=kd_div2k [key=value ...]`; see README.md."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from kd_lightning.config import one_line_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    from kd_lightning.distill.run import train  # after the configuration has proved valid

    train(cfg)


if __name__ == "__main__":
    with one_line_errors(Path(__file__).parent / "conf", "train"):
        main()
