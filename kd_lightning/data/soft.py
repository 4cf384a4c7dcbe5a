"""Photographs as a webcam has them: enlarged, so that they are soft, and recorded by a codec.

A camera's lens, its demosaicing and its own coding leave less detail than pixels. A network that
has seen sharp photographs only restores such a frame, once it is coded, hardly better than
interpolation does; one that has never seen a recorded frame takes what the camera's own codec left
for damage, and undoes what was not done (experiments/call/README.md).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kd_lightning.data.degradations import version_rng
from kd_lightning.data.pairing import list_images
from kd_lightning.errors import UserError
from kd_lightning.files import write_json
from kd_lightning.imageio.strict import read_rgb, write_png

LARGEST = (1152, 768)  # pixels, width and height of a soft image at most
NOTE = "soft.json"  # in the root: what its images are made from, and how


class SoftPhotos:
    """Source of `train_HR`: pieces of photographs, enlarged with Pillow's bicubic.

    From each photograph one piece for each factor, at drawn places; the pieces are as large as the
    photograph, or LARGEST.

    Args:
        photos: the folder that holds `folders`.
        folders: of HR images.
        factors: pixels of a soft image for a pixel of the photograph, each above 1.
        recorded: the same of pieces that `recorder` then changes, each at least 1.
        recorder: a degradation of scale 1: what a camera does to a picture before anyone has it.
            A codec's key has its library's version: another version is another recorder.
        seed: of the places and of the recorder's random numbers.
    """

    automatic = derived = True

    def __init__(
        self,
        photos: str,
        folders: Sequence[str],
        factors: Sequence[float] = (1.4, 2.0),
        recorded: Sequence[float] = (),
        recorder: Any = None,
        seed: int = 0,
    ) -> None:
        if min(factors, default=2) <= 1:
            raise UserError(f"data.source.factors={list(factors)}: each must be above 1")
        if min(recorded, default=1) < 1:
            raise UserError(f"data.source.recorded={list(recorded)}: each must be at least 1")
        if recorded and recorder is None:
            raise UserError("data.source.recorder has no value: data.source.recorded needs one")
        if not factors and not recorded:
            raise UserError("data.source.factors=[]: without data.source.recorded nothing is made")
        self.folders = [Path(photos).expanduser() / folder for folder in folders]
        self.factors, self.recorded = list(factors), list(recorded)
        self.recorder, self.seed = recorder, seed

    def fetch(self, root: Path, cache: Path) -> None:
        """Write the pieces that are not there yet, as RGB PNG.

        Raises:
            UserError: a folder of photographs is missing, two photographs would have the same name,
                `root` cannot be written, or holds images that were not made by these settings from
                these photographs.
        """
        self._claim(root)
        factors = self.factors + self.recorded
        kinds = [""] * len(self.factors)
        kinds += [f"-{self.recorder.key}" for _ in self.recorded]
        rng, written = np.random.default_rng(self.seed), set[Path]()
        for folder in self.folders:
            for stem, path in list_images(folder).items():
                places = rng.random((len(factors), 2))
                start = root / "train_HR" / f"{folder.parent.name}-{stem}"
                names = [f"{start.name}-{f}{kind}" for f, kind in zip(factors, kinds, strict=True)]
                files = [start.with_name(f"{name}.png") for name in names]
                if start in written:
                    raise UserError(
                        f"{path}: another folder of data.source.folders has a photograph "
                        f"{start.name}, too; rename one"
                    )
                written.add(start)
                if all(file.exists() for file in files):
                    continue
                photo = read_rgb(path)
                for file, factor, kind, place in zip(files, factors, kinds, places, strict=True):
                    if not file.exists():
                        piece = soft_piece(photo, factor, place)
                        if kind:
                            piece = self.recorder(piece, version_rng(self.seed, file.stem, 0))
                        write_png(file, piece)

    def _claim(self, root: Path) -> None:
        """Note in `root` what its images are made from and how, or compare it with the note."""
        settings = {
            "photos": [f"{f.parent.name}/{f.name}: {_identity(f)}" for f in self.folders],
            "factors": self.factors,
            "recorded": self.recorded,
            "recorder": self.recorder.key if self.recorded else None,
            "seed": self.seed,
        }
        note, remedy = root / NOTE, "give another data.root, or remove this folder"
        if note.is_file():
            before = json.loads(note.read_text())
            if changed := [key for key, value in settings.items() if before.get(key) != value]:
                said = ", ".join(f"{k} ({before.get(k)}, now {settings[k]})" for k in changed)
                raise UserError(f"{root}: its images were made with another {said}; {remedy}")
        elif any((root / "train_HR").glob("*")):
            raise UserError(f"{root}: holds images that data.source has not made; {remedy}")
        else:
            write_json(note, settings)

    def remedy(self, root: Path) -> str:
        return f"python prepare.py data=call writes the soft images to {root}"


def _identity(folder: Path) -> str:
    """The same for the same photographs, wherever they lie."""
    sizes = [[stem, path.stat().st_size] for stem, path in list_images(folder).items()]
    digest = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()
    return f"{len(sizes)} photographs, {digest[:12]}"


def soft_piece(photo: np.ndarray, factor: float, place: np.ndarray) -> np.ndarray:
    """A piece of `photo`, uint8 (H, W, 3), enlarged by `factor`; `place` (2) in [0, 1] says where
    between top left and bottom right it lies."""
    height, width = photo.shape[:2]
    longest, shortest = LARGEST if width >= height else LARGEST[::-1]
    size = (min(width, longest) // 4 * 4, min(height, shortest) // 4 * 4)
    piece = (round(size[1] / factor), round(size[0] / factor))
    top = int(place[0] * (height - piece[0] + 1))
    left = int(place[1] * (width - piece[1] + 1))
    part = photo[top : top + piece[0], left : left + piece[1]]
    image = Image.fromarray(np.ascontiguousarray(part))
    return np.array(image.resize(size, Image.Resampling.BICUBIC))
