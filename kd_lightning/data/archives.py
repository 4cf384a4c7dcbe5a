"""Unpack a downloaded zip archive: safely, resumably, and without room for a second copy."""

import ctypes
import stat
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from kd_lightning.errors import UserError
from kd_lightning.files import remove_leftovers, write_atomic

KEEP_SIZE, PUNCH_HOLE = 1, 2  # flags of Linux's fallocate(2)


def extract(archive: Path, folder: Path) -> None:
    """Unpack `archive` below `folder`; files that are there with the right size stay.

    While it goes, the archive's own space is given back to the disk (on Linux), so that the files
    never exist twice: delete the archive afterwards, it is hollow.

    Raises:
        UserError: not a zip archive, a damaged member, or one that would land outside `folder`;
            nothing is unpacked of an archive with such a name.
    """
    try:
        with zipfile.ZipFile(archive) as content, archive.open("r+b") as raw:
            members = [member for member in content.infolist() if not member.is_dir()]
            for member in members:
                _check_name(archive, member)
            for member in sorted(members, key=lambda member: member.header_offset):
                target = folder / member.filename
                if not (target.is_file() and target.stat().st_size == member.file_size):
                    write_atomic(target, content.read(member))
                _give_back(raw.fileno(), member.header_offset, member.compress_size)
            remove_leftovers(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{archive}: damaged archive ({error}); delete it and run again") from None


def _check_name(archive: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    outside = name.is_absolute() or ".." in name.parts or ":" in name.parts[0]
    if is_link or outside or "\\" in member.filename:
        raise UserError(f"{archive}: refused: '{member.filename}' points outside the data folder")


def _give_back(file: int, offset: int, size: int) -> None:
    """Free the blocks of a part of an open file, where the system and file system can."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        start, length = ctypes.c_longlong(offset), ctypes.c_longlong(size)
        libc.fallocate64(file, KEEP_SIZE | PUNCH_HOLE, start, length)
