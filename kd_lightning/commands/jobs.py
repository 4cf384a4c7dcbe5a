"""Which files kd-enhance reads, and which it writes: the same for images and videos."""

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.commands.failures import say
from kd_lightning.errors import UserError
from kd_lightning.models.pretrained import default_weights, find_weights

if TYPE_CHECKING:  # heavy imports wait until the arguments are understood
    from kd_lightning.deploy.backends import Runner

STREAM = "-"
OR_SKIP = ", or --skip-existing to leave it as it is"
Job = tuple[str, Path | None]


@dataclass(frozen=True)
class Kind:
    """What is enhanced: images or videos.

    Attributes:
        noun: of many, for people.
        readable, writable: suffixes.
        otherwise: suffix of the output where that of the input is not writable.
    """

    noun: str
    readable: Sequence[str]
    writable: Sequence[str]
    otherwise: str


def plan(inputs: Sequence[str], output: str, kind: Kind) -> list[Job]:
    """Each input file and where its result goes; None for standard output. What a folder holds
    besides is counted in one line on standard error.

    Raises:
        UserError: a folder without such files, a glob that matches nothing, or an output that
            cannot be written.
    """
    names = _expand(inputs, kind)
    return [(name, _target(name, output, len(names), kind)) for name in names]


def pending(jobs: list[Job], skip_existing: bool, kind: Kind) -> tuple[list[Job], int]:
    """What of `jobs` is to be done, and how many are skipped since their output is another's."""
    kept = _without_collisions(jobs)
    left = _without_finished(kept, kind) if skip_existing else kept
    return left, len(jobs) - len(kept)


def _without_collisions(jobs: list[Job]) -> list[Job]:
    """`jobs` without those whose output is that of an earlier input; each is said in one line."""
    owners: dict[Path, str] = {}
    kept: list[Job] = []
    for name, target in jobs:
        owner = owners.setdefault(target, name) if target else name
        if owner == name:
            kept.append((name, target))
        else:
            say(
                f"kd-enhance: skipped {name}: its result would be {target}, as that of {owner}; "
                "rename one of the two, or give it an -o of its own"
            )
    return kept


def _without_finished(jobs: list[Job], kind: Kind) -> list[Job]:
    """`jobs` without those whose output is there, which are counted in one line. Outputs appear
    whole, so that an unfinished one is not there; nor is one that is the input itself."""
    left = [job for job in jobs if not _is_finished(*job)]
    if len(left) < len(jobs):
        done = len(jobs) - len(left)
        say(f"kd-enhance: {done} of {len(jobs)} {kind.noun} are there already and stay as they are")
    return left


def _is_finished(name: str, target: Path | None) -> bool:
    if target is None or not target.is_file():
        return False
    return not (Path(name).exists() and target.samefile(name))


def open_runner(options: argparse.Namespace) -> "tuple[Runner, int, Path]":
    """The runner, the scale and the file of the weights that the options name.

    Raises:
        UserError: they cannot be had, or not together.
    """
    weights = find_weights(options.weights or default_weights(options.scale))

    from kd_lightning.deploy.backends import open_weights
    from kd_lightning.deploy.enhance import untrained_scale
    from kd_lightning.models.lookup import import_modules

    import_modules(options.imports)
    runner = open_weights(weights, options.backend, options.device, options.precision)
    if options.scale and runner.takes_lr and options.scale != runner.scale:
        raise UserError(f"--scale {options.scale}: these weights only enlarge by {runner.scale}")
    if options.scale and (warning := untrained_scale(runner, options.scale)):
        say(f"kd-enhance: warning: {warning}")
    return runner, options.scale or runner.scale, weights


def tile_side(value: str) -> int | None:
    """What --tile says; None for "auto". UserError for anything else but a number of pixels."""
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"--tile {value}: give auto or a number of pixels")
    return int(value)


def pixel_limit(value: int | None) -> int:
    """What --max-pixels allows. UserError for less than a pixel."""
    from kd_lightning.imageio.decode import MAX_PIXELS

    if value is not None and value < 1:
        raise UserError(f"--max-pixels {value}: give at least 1")
    return value or MAX_PIXELS


def refuse_existing(target: Path | None, force: bool, otherwise: str = "") -> None:
    """A link exists too, even one that points nowhere. `otherwise` ends the error's line."""
    if target and os.path.lexists(target) and not force:
        raise UserError(f"{target} exists; use --force to overwrite it{otherwise}")


def remove_leftovers(jobs: list[Job]) -> None:
    """Delete what killed runs left beside the outputs."""
    from kd_lightning.files import ABANDONED, remove_leftovers

    for folder in {target.parent for _, target in jobs if target}:
        remove_leftovers(folder, recursive=False, older_than=ABANDONED)


def silence_output() -> None:
    """Whoever read standard output is gone: Python must not try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _expand(inputs: Sequence[str], kind: Kind) -> list[str]:
    """File names for files, folders (their files of this kind, sorted) and globs."""
    from kd_lightning.imageio.folders import describe, list_folder

    names: list[str] = []
    for item in inputs:
        path = Path(item)
        if not item:
            raise UserError(
                "an input is empty, as an unset variable leaves it: name a file or folder"
            )
        if item == STREAM or path.is_file():
            names.append(item)
        elif path.is_dir():
            found, left_out = list_folder(path, kind.readable)
            if left_out:
                say(f"kd-enhance: {item}: {describe(left_out)}")
            if not found:
                known = ", ".join(kind.readable)
                raise UserError(f"{item}: no {kind.noun} in this folder ({known})")
            names += map(str, found)
        elif glob.has_magic(item):
            matches = sorted(p for p in glob.glob(item, recursive=True) if Path(p).is_file())
            if not matches:
                raise UserError(f"{item}: matches no file")
            names += _each_once(matches)
        else:
            names.append(item)  # named as missing when its turn comes
    return names


def _each_once(matches: list[str]) -> list[str]:
    """Without what a link to a folder makes appear again, as one that leads in a circle does."""
    places: dict[str, str] = {}
    for match in sorted(matches, key=lambda match: (match.count(os.sep), match)):
        folder, name = os.path.split(match)
        places.setdefault(os.path.join(os.path.realpath(folder), name), match)
    return sorted(places.values())


def _target(name: str, output: str, count: int, kind: Kind) -> Path | None:
    """Where the result of `name` goes; None for standard output.

    A name is a file's where it ends as one of this kind does, and a folder's where it exists as
    one, ends with a slash or has no ending with a letter in it ("results_1.5").
    """
    if output == STREAM:
        if count > 1:
            raise UserError(f"-o -: standard output takes one of the {count}; give a folder")
        return None
    path = Path(output)
    if not (path.is_dir() or output.endswith("/")):
        ending = path.suffix.lower()
        if ending in kind.writable and count == 1:
            return path
        if count > 1 and (path.exists() or ending in kind.writable):
            raise UserError(f"{output}: names one file, but {count} {kind.noun} need a folder")
        if path.exists():
            raise UserError(f"{output} is neither a folder nor a file that ends as {kind.noun} do")
        if any(character.isalpha() for character in ending):
            raise UserError(
                f"{output}: cannot write {ending}; end the file's name in "
                f"{', '.join(kind.writable)}, or a folder's in /"
            )
    source = Path(f"stdin{kind.otherwise}" if name == STREAM else name)
    kept = source.suffix.lower() in kind.writable
    return path / (source.name if kept else f"{source.stem}{kind.otherwise}")
