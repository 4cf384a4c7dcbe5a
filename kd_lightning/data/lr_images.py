"""The LR arrays that one degradation makes of one image folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd_lightning.data.degradations import Degradation, class_name, version_rng
from kd_lightning.data.store import ArrayStore
from kd_lightning.errors import UserError
from kd_lightning.imageio.strict import Pixels


@dataclass(frozen=True)
class LrImages:
    """LR arrays, one for each version of each image.

    A random degradation's have names with the version's number ("0001@3"); any other makes one
    array, named as its image.
    """

    store: ArrayStore
    degradation: Degradation
    files: dict[str, Path] | None  # files that lie beside the HR images; None: made from these
    versions: int | None  # how many of each image; None: the degradation is not random

    def names(self, stem: str) -> list[str]:
        """Of the arrays of `stem`."""
        if self.versions is None:
            return [stem]
        return [f"{stem}@{version}" for version in range(self.versions)]

    def missing(self, stem: str, hr_file: Path) -> list[int]:
        """The versions of `stem` that are not stored, or not made from the present file."""
        source = self.source(stem, hr_file)
        names = enumerate(self.names(stem))
        return [version for version, name in names if not self.store.has(name, source)]

    def source(self, stem: str, hr_file: Path) -> Path:
        """The file that the arrays of `stem` are made from."""
        return self.files[stem] if self.files else hr_file

    def make(self, hr: Pixels, stem: str, version: int, scale: int) -> Pixels:
        """One version of the LR image of `hr`.

        Raises:
            UserError: the degradation returns anything but 8 bits of the size that `scale` asks
                for.
            Exception: what the degradation raises, with a note that names image and version.
        """
        seed = int(getattr(self.degradation, "seed", 0))
        name = class_name(self.degradation)
        try:
            lr = self.degradation(hr, version_rng(seed, stem, version))
        except Exception as error:
            error.add_note(f"degradation: {name} raised this for version {version} of {stem}")
            raise
        shape = (hr.shape[0] // scale, hr.shape[1] // scale, 3)
        is_array = isinstance(lr, np.ndarray)
        if not is_array or lr.dtype != np.uint8 or lr.shape != shape:
            made = f"{lr.dtype} {lr.shape}" if is_array else f"a {class_name(lr)}"
            raise UserError(
                f"degradation: {name} made {made} of version {version} of {stem}; return a NumPy "
                f"array, uint8 {shape}"
            )
        return lr
