"""Download, verify, pair, teacher pass, store: `python prepare.py data=div2k [key=value ...]`."""

from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from kd_lightning.config import check_keys, one_line_errors
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.errors import UserError


def check(data: TripletDataModule) -> None:
    bad = data.check()
    for path in bad:
        print(path)
    if bad:
        raise UserError(
            f"the {len(bad)} files above were damaged or missing and are dropped; run "
            "the same command without check=true to make them again"
        )
    print("every stored file is as it was written")


def prepare(cfg: DictConfig) -> None:
    """Prepare, or only check, what the composed configuration would train on.

    Raises:
        UserError: data that is missing or cannot be used; damaged files (with check=true).
    """
    check_keys(cfg)
    data: TripletDataModule = instantiate(cfg.data, teacher=instantiate(cfg.teacher))
    if cfg.check:
        check(data)
        return
    data.fetch()
    data.prepare_data()
    print(f"prepared: everything is in {data.cache / 'store'}")


@hydra.main(version_base="1.3", config_path="conf", config_name="prepare")
def main(cfg: DictConfig) -> None:
    prepare(cfg)


if __name__ == "__main__":
    with one_line_errors(Path(__file__).parent / "conf", "prepare"):
        main()
