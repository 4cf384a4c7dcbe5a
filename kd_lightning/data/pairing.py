"""Which file belongs to which: images are paired by stem, never by their order in a folder.

A stem is a file's path inside its folder without the extension, with "/" between folders and in
Unicode form NFC: "0001", "city/night". LR and teacher files may carry the scale: "0001x2".
"""

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.imageio.folders import describe, walk
from kd_lightning.imageio.suffixes import READABLE

log = logging.getLogger(__name__)


def list_images(folder: Path) -> dict[str, Path]:
    """The image files below `folder`, by stem, sorted. Links are followed, hidden files are not
    read, and what else lies there is counted in the log.

    Raises:
        UserError: the folder is missing or holds no image, two files share a stem, or a name is
            not UTF-8.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; set data.root to the folder that holds it")
    files: dict[str, Path] = {}
    others = Counter[str]()
    for images, left_out in walk(folder):
        others += left_out
        for path in images:
            inside = path.relative_to(folder).with_suffix("").as_posix()
            _require_unicode(path, inside)
            stem = unicodedata.normalize("NFC", inside)
            if stem in files:
                raise UserError(
                    f"{path} and {files[stem]} share one stem; rename or remove one of them"
                )
            files[stem] = path
    if others:
        say_once(f"{folder}: {describe(others)}")
    if not files:
        known = " ".join(READABLE)
        raise UserError(f"{folder}: no image in this folder ({known}); check data.root")
    return dict(sorted(files.items()))


@cache
def say_once(line: str) -> None:
    """Log what is found again each time that a run looks at its folders."""
    log.info(line)


def _require_unicode(path: Path, inside: str) -> None:
    """Manifests and journals are UTF-8, and other machines must read them."""
    try:
        inside.encode()
    except UnicodeEncodeError:
        raise UserError(f"{os.fsencode(path)!r}: this name is not UTF-8; rename the file") from None


def pair(hr: Mapping[str, Path], folder: Path, scale: int, what: str) -> dict[str, Path]:
    """The file of `folder` for each stem of `hr`; `what` names these files in errors.

    Raises:
        UserError: an HR image without such a file, or the reverse.
    """
    suffix = re.compile(rf"x{scale}$")
    files: dict[str, Path] = {}
    for stem, path in list_images(folder).items():
        plain = stem if stem in hr else suffix.sub("", stem)
        if plain in files:
            raise UserError(f"{path} and {files[plain]} both belong to '{plain}'; remove one")
        files[plain] = path
    if missing := [stem for stem in hr if stem not in files]:
        raise UserError(
            f"{hr[missing[0]]}: no {what} for this HR image in {folder}{_others(missing)}; "
            f"add it, or remove the HR image"
        )
    if orphans := [stem for stem in files if stem not in hr]:
        raise UserError(
            f"{files[orphans[0]]}: {what} without an HR image{_others(orphans)}; "
            f"remove it, or add the HR image"
        )
    return {stem: files[stem] for stem in hr}


def split_stems(stems: Iterable[str], share: float) -> tuple[list[str], list[str]]:
    """(training, validation) stems; about `share` of them, at least one, go to validation.

    The choice is a function of the stem alone, so it does not move when files are added (except
    that in a folder so small that no stem falls below `share`, the lowest one validates).
    """
    places = {stem: _place(stem) for stem in stems}
    limit = max(share, min(places.values(), default=0.0))
    validation = [stem for stem, place in places.items() if place < share or place == limit]
    return [stem for stem in places if stem not in set(validation)], validation


def _place(stem: str) -> float:
    digest = hashlib.sha256(stem.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _others(stems: list[str]) -> str:
    return f" (and {len(stems) - 1} more)" if len(stems) > 1 else ""
