"""The decoded store: one memory-mapped file per image, and a manifest that vouches for each.

A file is a `.npy` of one dimension: the bytes of the image in strips (see `strips`); its shape
stands in the manifest. A store is a folder that holds one kind of array (HR, LR or teacher) of one
image folder under one set of settings. Why plain files: experiments/benchmark/data/README.md.
"""

import hashlib
import io
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from kd_lightning.data.strips import Strips, to_strips
from kd_lightning.errors import UserError
from kd_lightning.files import CACHE_REMEDY, remove_leftovers, unwritable, write_atomic
from kd_lightning.imageio.strict import Pixels

FORMAT = 2  # of the manifest and the arrays; another number is another store
MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Origin:
    """The file that an array was made from, as it was then."""

    name: str
    size: int  # bytes
    mtime_ns: int
    sha256: str

    @classmethod
    def read(cls, path: Path) -> tuple[Self, bytes]:
        """The identity of `path` and its content."""
        try:
            data = path.read_bytes()
            stat = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot read ({error.strerror}); check the file") from None
        digest = hashlib.sha256(data).hexdigest()
        return cls(path.name, len(data), stat.st_mtime_ns, digest), data

    def is_(self, path: Path) -> bool:
        """Whether `path` still looks like this file (name, size, time; the content is not read)."""
        try:
            stat = path.stat()
        except OSError:
            return False
        now = (path.name, stat.st_size, stat.st_mtime_ns)
        return now == (self.name, self.size, self.mtime_ns)


@dataclass(frozen=True)
class Entry:
    """One array of a store: its shape (H, W, 3), the hash of its file and what it was made from."""

    shape: tuple[int, int, int]
    sha256: str
    source: Origin


class StoredArray(NamedTuple):
    """A stored file and the shape (H, W, 3) of its array."""

    path: str
    shape: tuple[int, int, int]

    def open(self) -> Strips:
        """The array, memory-mapped, read-only; each open one holds a file descriptor."""
        return Strips.map(self.path, len(_header(self.shape)), self.shape)

    def read(self) -> Pixels:
        """The array, in memory."""
        return self.open().whole()


class ArrayStore:
    """The uint8 (H, W, 3) arrays in `folder`, by stem. Writing is thread-safe and all or nothing.

    A killed run leaves a journal; the next one takes over what it vouches for.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = {"format": FORMAT, **settings}
        self.entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self.reload()

    def path(self, stem: str) -> Path:
        return self.folder / f"{stem}.npy"

    def has(self, stem: str, source: "Path | Origin") -> bool:
        """Whether the array of `stem` is there, whole, and made from `source` as it is now."""
        entry = self.entries.get(stem)
        if entry is None:
            return False
        if not (entry.source == source if isinstance(source, Origin) else entry.source.is_(source)):
            return False
        try:
            size = self.path(stem).stat().st_size
        except OSError:
            return False
        return size == len(_header(entry.shape)) + int(np.prod(entry.shape))

    def put(self, stem: str, array: Pixels, source: Origin) -> None:
        """Store `array` under `stem`. Raises UserError where the disk is full or read-only."""
        height, width, channels = array.shape
        header, content = _header(array.shape), to_strips(array).data
        digest = hashlib.sha256(header)
        digest.update(content)
        write_atomic(self.path(stem), header, content, remedy=CACHE_REMEDY)
        entry = Entry((height, width, channels), digest.hexdigest(), source)
        line = json.dumps({"stem": stem, **asdict(entry)}, ensure_ascii=False)
        with self._lock:
            self.entries[stem] = entry
            try:
                with (self.folder / JOURNAL).open("a", encoding="utf-8") as journal:
                    journal.write(line + "\n")
            except OSError as error:
                raise unwritable(self.folder / JOURNAL, error, CACHE_REMEDY) from None

    def stored(self, stem: str) -> StoredArray:
        """Where the array of `stem` lies; `stem` must have been put here."""
        return StoredArray(str(self.path(stem)), self.entries[stem].shape)

    def commit(self) -> None:
        """Turn the journal into the manifest and remove what a killed run left behind."""
        there = [stem for stem in sorted(self.entries) if self.path(stem).exists()]
        manifest = {
            "settings": self.settings,
            "entries": {stem: asdict(self.entries[stem]) for stem in there},
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True)
        write_atomic(self.folder / MANIFEST, text.encode(), remedy=CACHE_REMEDY)
        (self.folder / JOURNAL).unlink(missing_ok=True)
        remove_leftovers(self.folder)

    @property
    def committed(self) -> bool:
        """Whether a run has ended here and none has been killed since."""
        return (self.folder / MANIFEST).exists() and not (self.folder / JOURNAL).exists()

    def damaged(self, stem: str) -> bool:
        """Whether the file of `stem` differs from what the manifest vouches for (reads it)."""
        entry = self.entries.get(stem)
        try:
            data = self.path(stem).read_bytes()
        except OSError:
            return True
        return entry is None or hashlib.sha256(data).hexdigest() != entry.sha256

    def drop(self, stem: str) -> None:
        """Forget `stem` and delete its file, so that the next run makes it again."""
        self.entries.pop(stem, None)
        self.path(stem).unlink(missing_ok=True)

    def reload(self) -> None:
        """Read the manifest and what a killed run's journal adds; another run may have written."""
        self.entries = {}
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["settings"] == self.settings:
                self.entries = {stem: _entry(e) for stem, e in manifest["entries"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            self.entries = {}  # none, or damaged: everything is made again
        try:
            lines = (self.folder / JOURNAL).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            return
        for line in lines:
            try:
                record = json.loads(line)
                self.entries[record.pop("stem")] = _entry(record)
            except (ValueError, KeyError, TypeError):
                continue  # the line that the kill cut short


def _entry(record: dict[str, Any]) -> Entry:
    height, width, channels = record["shape"]
    return Entry((height, width, channels), record["sha256"], Origin(**record["source"]))


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": (int(np.prod(shape)),)}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def folder_id(folder: Path) -> str:
    """A readable name for an image folder that no other folder of this machine has."""
    resolved = folder.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
    return f"{resolved.parent.name}-{resolved.name}-{digest}"
