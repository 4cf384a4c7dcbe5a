"""DIV2K (Agustsson and Timofte 2017): where it is and what it takes."""

from pathlib import Path

from kd_lightning.errors import UserError


class Div2k:
    """Source of `DIV2K_train_HR` and `DIV2K_valid_HR`."""

    automatic = False

    def fetch(self, root: Path) -> None:
        raise UserError(f"{root}: downloading is not written yet")

    def remedy(self, root: Path) -> str:
        return (
            "python prepare.py data=div2k downloads DIV2K (3.5 GB for training, 0.4 GB for "
            f"validation) to {root}; if you have it, set data.root=... to the folder that holds "
            "DIV2K_train_HR and DIV2K_valid_HR"
        )
