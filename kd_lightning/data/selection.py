"""Some images of one folder: what they are, and loaders of them."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from kd_lightning.data.datasets import StoredImage, WholeImages, stored_images
from kd_lightning.data.triplets import Triplets
from kd_lightning.errors import UserError


class Selection(NamedTuple):
    """Some images of one folder."""

    triplets: Triplets
    stems: list[str]


def all_images(selections: Sequence[Selection]) -> list[StoredImage]:
    """As the store has them."""
    return [item for triplets, stems in selections for item in stored_images(triplets, stems)]


def some_images(selections: Sequence[Selection], name: str) -> list[StoredImage]:
    """At least one. Raises UserError for none."""
    if not (items := all_images(selections)):
        raise UserError(f"no image is left for data.{name}: add some, or change data.split")
    return items


def identity(selections: Sequence[Selection]) -> str:
    """The same for the same images, wherever they lie."""
    content = [[t.hr.entries[stem].sha256, stem] for t, stems in selections for stem in stems]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def whole_images(items: list[StoredImage], rank: int = 0, world: int = 1) -> DataLoader[Any]:
    """The images that fall to process `rank` of `world`, dealt in turn. A process that none is
    left for sees the first, without a stem, since all must take part in a validation."""
    dealt = items[rank::world] or [items[0]._replace(stem="")]
    return DataLoader(WholeImages(dealt), batch_size=None)


def check_sizes(selections: Sequence[Selection], need: int, what: str) -> None:
    """Raises UserError for an image with less than the `need` pixels a side that `what` takes."""
    for triplets, stems in selections:
        for stem in stems:
            height, width, _ = triplets.hr.entries[stem].shape
            if min(height, width) < need:
                raise UserError(
                    f"{triplets.files[stem]}: {width}x{height} pixels is too small for {what}, "
                    f"{need} pixels; remove the image, or choose a smaller crop"
                )
