"""DIV2K (Agustsson and Timofte, NTIRE 2017): where it is and what it takes."""

import logging
import shutil
import urllib.request
from pathlib import Path
from typing import NamedTuple

from kd_lightning.data.archives import extract
from kd_lightning.data.disk import gigabytes, require_space
from kd_lightning.download import download, mismatch
from kd_lightning.errors import UserError

log = logging.getLogger(__name__)

URL = "http://data.vision.ee.ethz.ch/cvl/DIV2K"
# Bytes of the whole preparation per byte of HR archive: HR, teacher and LR x2 of the 800 training
# images take 15.5 GB as uint8, the teacher's PNGs about as much as the HR ones.
STORE_FACTOR = 15.5 / 3.53 + 1


class Archive(NamedTuple):
    """One zip file of the data set and the folder in it that matters."""

    folder: str
    md5: str
    size: int | None = None  # bytes; None: the server says it

    @property
    def name(self) -> str:
        return self.folder.replace("/", "_") + ".zip"


HR = (
    Archive("DIV2K_train_HR", "bdc2d9338d4e574fe81bf7d158758658", 3_530_603_713),
    Archive("DIV2K_valid_HR", "9fcdda83005c5e5997799b69f955ff88"),
)
LR_X2 = (
    Archive("DIV2K_train_LR_bicubic/X2", "9a637d2ef4db0d0a81182be37fb00692"),
    Archive("DIV2K_valid_LR_bicubic/X2", "1512c9a3f7bde2a1a21a73044e46b9cb"),
)


class Div2k:
    """Source of `DIV2K_train_HR` and `DIV2K_valid_HR`.

    Args:
        url: the folder of the archives on a server; a mirror's, if the official one is slow.
        official_lr: also fetch the official LR x2 files (made with MATLAB).
        archives: what to fetch; None: DIV2K.
    """

    automatic = False

    def __init__(
        self,
        url: str = URL,
        official_lr: bool = False,
        archives: tuple[Archive, ...] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.archives = archives or (HR + LR_X2 if official_lr else HR)

    def fetch(self, root: Path, cache: Path) -> None:
        """Download, verify and unpack what `root` lacks. A stopped run goes on where it was.

        Raises:
            UserError: no room on the disk for this and for the store in `cache`, no connection, a
                wrong checksum, a damaged archive.
        """
        missing = [archive for archive in self.archives if not (root / archive.folder).is_dir()]
        if not missing:
            return
        self._require_space(missing, root, cache)
        for archive in missing:
            self._fetch(archive, root)

    def remedy(self, root: Path) -> str:
        return (
            "python prepare.py data=div2k downloads DIV2K (3.5 GB for training and a tenth of it "
            f"for validation) to {root}; if you have it, set data.root=... to the folder that "
            "holds DIV2K_train_HR and DIV2K_valid_HR"
        )

    def _fetch(self, archive: Archive, root: Path) -> None:
        file, part = root / archive.name, root / f".{archive.name}.part"
        if not part.exists():  # else it was verified before, and may be half hollow now
            found = file.exists()
            download(f"{self.url}/{archive.name}", file, size=archive.size, md5=archive.md5)
            if found and (wrong := mismatch(file, size=archive.size, md5=archive.md5)):
                raise UserError(f"{file}: {wrong}; delete it and run again")
        log.info("unpacking %s", file)
        extract(file, part)
        unpacked, target = part / archive.folder, root / archive.folder
        if not unpacked.is_dir():
            raise UserError(f"{file}: holds no folder {archive.folder}; delete it and {part}")
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(target)  # a folder with its final name is complete
        file.unlink()
        shutil.rmtree(part)

    def _require_space(self, missing: list[Archive], root: Path, cache: Path) -> None:
        sizes = {archive: archive.size or self._size(archive) for archive in missing}
        done = {archive: _size_on_disk(root, archive) for archive in missing}
        download_size = sum(max(0, sizes[archive] - done[archive]) for archive in missing)
        store = int(sum(size for archive, size in sizes.items() if archive in HR) * STORE_FACTOR)
        log.info(
            "needs %s of disk in %s and about %s in %s",
            gigabytes(download_size),
            root,
            gigabytes(store),
            cache,
        )
        remedy = "free some, or set data.root=... and data.cache_dir=... to larger disks"
        require_space({root: download_size, cache: store}, remedy)

    def _size(self, archive: Archive) -> int:
        """What the server says; 0 where it does not (the download then says what is wrong)."""
        request = urllib.request.Request(f"{self.url}/{archive.name}", method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return int(response.headers.get("Content-Length") or 0)
        except OSError:
            return 0


def _size_on_disk(root: Path, archive: Archive) -> int:
    """Bytes of `archive` that are there already, packed, in part or unpacked."""
    files = [root / archive.name, root / f"{archive.name}.part"]
    files += (root / f".{archive.name}.part").rglob("*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())
