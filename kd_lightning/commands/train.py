"""kd-train: train a student with the configuration that the command line composes."""

import sys

import hydra
from omegaconf import DictConfig

from kd_lightning.config import CONFIG, one_line_errors, options_first


@hydra.main(version_base="1.3", config_path=str(CONFIG), config_name="train")
def run(cfg: DictConfig) -> float | None:
    """One job of Hydra; returns the best value of what the checkpoints monitor, for sweepers."""
    from kd_lightning.distill.run import train  # after the configuration has proved valid

    return train(cfg)


def main() -> None:
    """Exit status: 0 done, 2 refused."""
    sys.argv[1:] = options_first(sys.argv[1:])
    with one_line_errors("train"):
        run()
