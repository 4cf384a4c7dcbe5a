"""Nine photographs that ship inside the scikit-image wheel, for runs without any download.

Terms, as scikit-image states them: astronaut (NASA), rocket (SpaceX) and hubble_deep_field
(NASA, ESA) are in the public domain; coffee (Rachel Michetti), chelsea (Stefan van der Walt) and
camera (Lav Varshney) are CC0 by their photographers; brick and gravel (cc0textures.com) and grass
(linolafett) are CC0.
"""

import importlib.util
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.imageio.strict import read_rgb, write_png

FOLDERS = {
    "train_HR": (
        "brick.png",
        "camera.png",
        "coffee.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
    ),
    "valid_HR": ("chelsea.png",),
    "test_HR": ("astronaut.png", "rocket.jpg"),
}


class SamplePhotos:
    """Source of `train_HR`, `valid_HR` and `test_HR` under the root folder, no network needed."""

    automatic = True

    def fetch(self, root: Path, cache: Path) -> None:
        """Write the photographs that are not there yet, as RGB PNG.

        Raises:
            UserError: scikit-image is not installed, or the folder cannot be written.
        """
        spec = importlib.util.find_spec("skimage")
        if spec is None or spec.origin is None:
            raise UserError(
                f"{root}: the sample photos come with scikit-image; install it "
                "(pip install 'kd_lightning[samples]'), or choose another data=..."
            )
        photos = Path(spec.origin).parent / "data"
        for folder, names in FOLDERS.items():
            for name in names:
                target = root / folder / Path(name).with_suffix(".png")
                if not target.exists():
                    write_png(target, read_rgb(photos / name))

    def remedy(self, root: Path) -> str:
        return f"python prepare.py data=samples writes the sample photos to {root}"
