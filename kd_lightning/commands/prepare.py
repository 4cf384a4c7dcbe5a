"""kd-prepare: download, verify, pair, run the teacher, and store what a run trains on."""

import sys

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from kd_lightning.commands import VERSION
from kd_lightning.config import CONFIG, check_keys, check_parts, options_first
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.distill.losses import make_loss, uses_teacher
from kd_lightning.errors import UserError
from kd_lightning.explain import one_line_errors
from kd_lightning.imports import named, without_imports
from kd_lightning.models.lookup import import_modules
from kd_lightning.values import check_values


def prepare(cfg: DictConfig) -> None:
    """Prepare, or only check, what the composed configuration would train on.

    Raises:
        UserError: a key or a value is wrong; data that is missing or cannot be used; damaged
            files (with check=true).
    """
    check_parts(cfg)
    check_keys(cfg)
    check_values(cfg)
    data: TripletDataModule = instantiate(cfg.data, teacher=instantiate(cfg.teacher))
    data.train_teacher = uses_teacher(make_loss(cfg.loss))
    if cfg.check:
        check(data)
        return
    data.fetch()
    data.prepare_data()
    print(f"prepared: everything is in {data.cache / 'store'}")


def check(data: TripletDataModule) -> None:
    """Read every stored file. Raises UserError, after naming each, if any is damaged or missing."""
    bad = data.check()
    for path in bad:
        print(path)
    if bad:
        raise UserError(
            f"the {len(bad)} files above were damaged or missing and are dropped; run "
            "the same command without check=true to make them again"
        )
    print("every stored file is as it was written")


@hydra.main(version_base="1.3", config_path=str(CONFIG), config_name="prepare")
def run(cfg: DictConfig) -> None:
    """One job of Hydra."""
    import_modules(named())
    prepare(cfg)


def main() -> None:
    """Exit status: 0 done, 2 refused."""
    if "--version" in sys.argv[1:]:  # Hydra would say its own
        return print(VERSION)
    with one_line_errors("prepare"):
        sys.argv[1:] = options_first(without_imports(sys.argv[1:]))
        run()
