"""Files are written whole or not at all."""

import errno
import math
import os
from pathlib import Path

import pytest

from kd_lightning.errors import UserError
from kd_lightning.files import file_hash, sibling, write_atomic, write_json
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
