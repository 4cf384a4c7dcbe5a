"""kd-train: train a student with the configuration that the command line composes."""

import sys

import hydra
from omegaconf import DictConfig

from kd_lightning.commands import VERSION
from kd_lightning.config import CONFIG, options_first
from kd_lightning.explain import one_line_errors
from kd_lightning.imports import named, without_imports
from kd_lightning.sweeps.command import resumed
from kd_lightning.sweeps.plugins import register

SWEEP = {"-m", "--multirun", "hydra.mode=MULTIRUN"}


@hydra.main(version_base="1.3", config_path=str(CONFIG), config_name="train")
def run(cfg: DictConfig) -> float | None:
    """One job of Hydra; returns the best value of what the checkpoints monitor, for sweepers."""
    from kd_lightning.distill.job import job  # after the configuration has proved valid
    from kd_lightning.models.lookup import import_modules

    import_modules(named())
    return job(cfg)


def main() -> None:
    """Exit status: 0 done, 2 refused."""
    if "--version" in sys.argv[1:]:  # Hydra would say its own
        return print(VERSION)
    with one_line_errors("train"):
        sys.argv[1:] = options_first(without_imports(resumed(sys.argv[1:])))
        if SWEEP & {*sys.argv}:
            register()
        run()


if __name__ == "__main__":
    main()
