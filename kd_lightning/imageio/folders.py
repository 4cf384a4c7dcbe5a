"""The image files of a folder, and what else lies there."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.imageio.suffixes import READABLE


def list_folder(
    folder: Path, suffixes: Sequence[str] = READABLE
) -> tuple[list[Path], Counter[str]]:
    """Image files in `folder` itself, sorted, and how many others were left out, by kind.

    A file is an image where its suffix is one of `suffixes` and its name does not begin with a dot;
    links count as what they point to, and a broken one as the file that it stands for. Suffixes of
    videos list these.
    """
    images, left_out = [], Counter[str]()
    for path in sorted(folder.iterdir()):
        kind = _kind(path, suffixes)
        if kind:
            left_out[kind] += 1
        else:
            images.append(path)
    return images, left_out


def walk(folder: Path) -> Iterator[tuple[list[Path], Counter[str]]]:
    """`list_folder` of `folder` and of all below it, without counting sub-folders. Links to
    folders are followed, unless they lead back to a folder that they lie in; folders whose names
    begin with a dot are left out.

    Raises:
        UserError: a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot read this folder ({error.strerror})")

    parents: dict[str, tuple[str, ...]] = {str(folder): (os.path.realpath(folder),)}
    for name, below, _ in os.walk(folder, followlinks=True, onerror=refuse):
        images, left_out = list_folder(Path(name))
        del left_out["folder"]
        yield images, left_out
        above = parents.pop(name)
        places = {part: os.path.realpath(os.path.join(name, part)) for part in below}
        below[:] = sorted(p for p in below if places[p] not in above and not p.startswith("."))
        parents |= {os.path.join(name, part): (*above, places[part]) for part in below}


def describe(left_out: Counter[str]) -> str:
    """For people: "3 files left out (2 .heic, 1 ._*)", or nothing."""
    count = left_out.total()
    if not count:
        return ""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(left_out.items()))
    return f"{count} {'entry' if count == 1 else 'entries'} left out ({kinds})"


def _kind(path: Path, suffixes: Sequence[str]) -> str:
    """What keeps `path` from being a file of these suffixes; nothing where it is one."""
    if path.is_dir():
        return "folder"
    if path.name.startswith("."):
        return "._*" if path.name.startswith("._") else "hidden"
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        return suffix or "without suffix"
    if not (path.is_file() or path.is_symlink()):
        return "not a file"
    return ""
