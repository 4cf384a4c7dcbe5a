"""Some images of one folder: what they are, and loaders of them."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from kd_lightning.data.datasets import StoredImage, WholeImages, stored_images
from kd_lightning.data.triplets import Triplets
from kd_lightning.errors import UserError

log = logging.getLogger(__name__)


class Selection(NamedTuple):
    """Some images of one folder."""

    triplets: Triplets
    stems: list[str]


def folder_of(key: str, given: Any) -> Path:
    """The folder that the key has. Raises UserError where it has something else."""
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{key}={given}: give the path of one folder")
    return Path(given).expanduser()


def folders_of(key: str, given: Any) -> list[Path]:
    """The folders that the key has. Raises UserError where it has something else."""
    if given is None or isinstance(given, str | os.PathLike):
        shown = "null" if given is None else given
        raise UserError(f"{key}={shown}: give a list of folders, {key}=[FOLDER]")
    return [folder_of(f"{key}.{number}", folder) for number, folder in enumerate(given)]


def all_images(selections: Sequence[Selection]) -> list[StoredImage]:
    """As the store has them."""
    return [item for triplets, stems in selections for item in stored_images(triplets, stems)]


def some_images(selections: Sequence[Selection], name: str) -> list[StoredImage]:
    """At least one. Raises UserError for none."""
    if items := all_images(selections):
        return items
    have = sum(len(triplets.files) for triplets, _ in selections)
    if have == 1:
        remedy = "the one image there is validates; add images, or give data.val=[FOLDER] with "
        remedy += "data.split=null"
    elif have:
        remedy = "add images, or change data.split"
    else:
        remedy = f"give data.{name}=[FOLDER]" + (", or data.split=0.1" if name == "val" else "")
    raise UserError(f"no image is left for data.{name}: {remedy}")


def identity(selections: Sequence[Selection]) -> str:
    """The same for the same images, wherever they lie."""
    content = [[t.hr.entries[stem].sha256, stem] for t, stems in selections for stem in stems]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def warn_of_overlap(train: Sequence[Selection], scored: Mapping[str, Sequence[Selection]]) -> None:
    """Log which of the `scored` images, by key, are training images too: files of equal content."""
    seen = set(_sources(train))
    found = {
        key: [file for digest, file in _sources(selections).items() if digest in seen]
        for key, selections in scored.items()
    }
    if files := list(dict.fromkeys(file for both in found.values() for file in both)):
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        keys = ", ".join(key for key, both in found.items() if both)
        log.warning(
            "%s: %s%s also trains the student, so the scores are too good", keys, files[0], more
        )


def _sources(selections: Sequence[Selection]) -> dict[str, Path]:
    """The HR files, by the hash of their content, which the stores know."""
    return {
        triplets.hr.entries[stem].source.sha256: triplets.files[stem]
        for triplets, stems in selections
        for stem in stems
    }


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
