"""Files are written whole or not at all."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from kd_lightning.errors import UserError
from kd_lightning.files import (
    file_hash,
    mode_of,
    replacing,
    replacing_path,
    sibling,
    write_atomic,
    write_json,
)
from tests.runs import ROOT, strict_json


def test_an_interrupted_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a", b"old")

    def killed(*_: object) -> None:
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(UserError):
        write_atomic(tmp_path / "a", b"new and longer")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("links", [True, False], ids=["", "on a disk without links"])
@pytest.mark.parametrize("appears", ["", "file", "folder", "link to nothing"])
def test_what_appears_meanwhile_is_not_replaced_by_a_new_file(
    appears: str, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "film.mp4"
    trouble = pytest.raises(UserError) if appears else nullcontext()
    with trouble as refusal, replacing(path, new=True) as file:
        file.write(b"mine")
        if appears == "file":
            path.write_bytes(b"theirs")
        elif appears == "folder":
            path.mkdir()
        elif appears:
            path.symlink_to("nothing")
    found = {name for name in os.listdir(tmp_path) if name != path.name}
    if not appears:
        assert path.read_bytes() == b"mine" and not found
        return
    assert path.is_dir() or path.is_symlink() or path.read_bytes() == b"theirs"
    (kept,) = found
    assert (tmp_path / kept).read_bytes() == b"mine"
    assert str(refusal.value).endswith(
        f"exists by now and was kept; the result is in {tmp_path / kept}"
    )


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002], indirect=True)
def test_a_new_file_is_open_to_whom_the_umask_leaves_it_to(tmp_path: Path, umask: int) -> None:
    with replacing_path(tmp_path / "new" / "a") as part:
        assert mode_of(part) == 0o666 & ~umask  # not for a moment to others
    assert mode_of(tmp_path / "new" / "a") == 0o666 & ~umask


@pytest.mark.parametrize("umask", [0o022], indirect=True)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, umask: int, mode: int) -> None:
    write_atomic(tmp_path / "a", b"old")
    (tmp_path / "a").chmod(mode)
    with replacing_path(tmp_path / "a") as part:
        assert mode_of(part) == 0o600
        part.write_bytes(b"new")
    assert mode_of(tmp_path / "a") == mode
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o027], indirect=True)
def test_a_file_in_place_of_a_link_is_new(tmp_path: Path, umask: int) -> None:
    (tmp_path / "a").symlink_to("nowhere")
    write_atomic(tmp_path / "a", b"new")
    assert mode_of(tmp_path / "a") == 0o640


def test_what_json_has_no_number_for_is_null(tmp_path: Path) -> None:
    content = {"psnr": math.inf, "rows": [(math.nan, 1.5)], "n": 2, "text": "Infinity"}
    write_json(tmp_path / "new" / "a.json", content)
    read = strict_json((tmp_path / "new" / "a.json").read_text())
    assert read == {"psnr": None, "rows": [[None, 1.5]], "n": 2, "text": "Infinity"}


@pytest.mark.parametrize(
    "file", sorted((ROOT / "experiments").rglob("*.json")), ids=lambda f: f.name
)
def test_committed_results_are_json_that_every_program_reads(file: Path) -> None:
    strict_json(file.read_text())


def test_a_hash_is_of_the_content(tmp_path: Path) -> None:
    """FIPS 180-2's and RFC 1321's example "abc"."""
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert file_hash(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_sibling_folder_replaces_the_last_hr() -> None:
    assert sibling(Path("HR_HR/DIV2K_train_HR"), "_LR_bicubic") == Path(
        "HR_HR/DIV2K_train_LR_bicubic"
    )
    assert sibling(Path("set5/HR"), "_teacher") is None
