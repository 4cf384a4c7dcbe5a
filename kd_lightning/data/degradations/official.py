"""LR files that somebody made and that lie beside the HR images, as DIV2K's do."""

from pathlib import Path

import numpy as np

from kd_lightning.data.degradations import Degradation
from kd_lightning.data.degradations.settings import whole
from kd_lightning.errors import UserError
from kd_lightning.files import sibling
from kd_lightning.imageio.strict import Pixels


class Official:
    """The files of `<x>_LR_bicubic/X<scale>` beside `<x>_HR`.

    Args:
        scale: HR pixels per LR pixel.
        otherwise: makes the LR images of folders without such files; None: they are an error.
    """

    clean = True

    def __init__(self, scale: int, otherwise: Degradation | None = None) -> None:
        self.scale, self.otherwise = whole("scale", scale, 1), otherwise

    @property
    def key(self) -> str:
        return self.otherwise.key if self.otherwise is not None else "official"

    def files(self, hr_folder: Path) -> Path | None:
        """The folder of LR files beside `hr_folder`; None where `otherwise` makes them.

        Raises:
            UserError: there is no such folder, and nothing else to make LR images.
        """
        official = sibling(hr_folder, "_LR_bicubic")
        if official is not None and (official / f"X{self.scale}").is_dir():
            return official / f"X{self.scale}"
        if self.otherwise is None:
            raise UserError(
                f"{hr_folder}: degradation=official needs the LR files in <name>_LR_bicubic/"
                f"X{self.scale} beside a folder <name>_HR; add them, or choose degradation=auto"
            )
        return None

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels:
        if self.otherwise is None:
            raise UserError("degradation=official makes no LR images: choose degradation=auto")
        return self.otherwise(hr, rng)
