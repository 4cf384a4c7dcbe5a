"""The download of DIV2K, against a local server with small archives of the same form."""

import hashlib
import http.server
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from kd_lightning.data import disk, div2k
from kd_lightning.data.archives import extract
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.data.div2k import Archive, Div2k
from kd_lightning.errors import UserError
from tests.data.small_data import picture


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(64, 64, seed)).save(buffer, "png")
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


CONTENT = {
    "DIV2K_train_HR": {f"DIV2K_train_HR/{n:04}.png": png(n) for n in range(1, 4)},
    "DIV2K_valid_HR": {"DIV2K_valid_HR/0801.png": png(801)},
    "DIV2K_train_LR_bicubic/X2": {
        f"DIV2K_train_LR_bicubic/X2/{n:04}x2.png": png(n) for n in range(1, 4)
    },
}
ZIPS = {folder: zipped(files) for folder, files in CONTENT.items()}
ARCHIVES = tuple(Archive(f, hashlib.md5(data).hexdigest()) for f, data in ZIPS.items())


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    served = tmp_path / "served"
    served.mkdir()
    for archive in ARCHIVES:
        (served / archive.name).write_bytes(ZIPS[archive.folder])

    def handler(*arguments: object) -> Server:
        return Server(*arguments, directory=str(served))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def all_files() -> dict[str, bytes]:
    return {name: data for files in CONTENT.values() for name, data in files.items()}


def test_everything_is_fetched_and_nothing_else_stays(url: str, tmp_path: Path) -> None:
    root = tmp_path / "DIV2K"
    Div2k(url, archives=ARCHIVES).fetch(root, tmp_path / "cache")
    assert files_of(root) == all_files()
    assert sorted(path.name for path in root.iterdir()) == [
        "DIV2K_train_HR", "DIV2K_train_LR_bicubic", "DIV2K_valid_HR",
    ]  # fmt: skip


def test_what_is_there_is_not_fetched_again(url: str, tmp_path: Path) -> None:
    root = tmp_path / "DIV2K"
    (root / "DIV2K_train_HR").mkdir(parents=True)
    Div2k(url, archives=ARCHIVES[:2]).fetch(root, tmp_path / "cache")
    assert sorted(files_of(root)) == ["DIV2K_valid_HR/0801.png"]


def test_a_wrong_checksum_is_refused(url: str, tmp_path: Path) -> None:
    wrong = Archive("DIV2K_valid_HR", "0" * 32)
    with pytest.raises(UserError, match=r"DIV2K_valid_HR\.zip: has md5 .* expected 0000"):
        Div2k(url, archives=(wrong,)).fetch(tmp_path / "DIV2K", tmp_path / "cache")
    assert not (tmp_path / "DIV2K" / "DIV2K_valid_HR").exists()


def test_an_archive_put_there_by_hand_is_verified(url: str, tmp_path: Path) -> None:
    root = tmp_path / "DIV2K"
    root.mkdir()
    (root / "DIV2K_valid_HR.zip").write_bytes(ZIPS["DIV2K_valid_HR"][:-1] + b"!")
    with pytest.raises(UserError, match=r"DIV2K_valid_HR\.zip: has md5 .*delete it"):
        Div2k(url, archives=ARCHIVES[1:2]).fetch(root, tmp_path / "cache")


def test_an_interrupted_extraction_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "DIV2K"
    replace, calls = os.replace, []

    def stop_at_the_third_file(source: str, target: Path) -> None:
        calls.append(target)
        if len(calls) == 4:  # the first is the archive's own name
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_at_the_third_file)
    with pytest.raises(KeyboardInterrupt):
        Div2k(url, archives=ARCHIVES).fetch(root, tmp_path / "cache")
    assert not (root / "DIV2K_train_HR").exists()
    monkeypatch.undo()
    Div2k(url, archives=ARCHIVES).fetch(root, tmp_path / "cache")
    assert files_of(root) == all_files()


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "C:/e.png"])
def test_a_path_outside_the_target_is_refused_before_anything_is_unpacked(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"good.png": b"1", name: b"2"}))
    with pytest.raises(UserError, match="points outside"):
        extract(tmp_path / "a.zip", tmp_path / "target")
    assert files_of(tmp_path).keys() == {"a.zip"}


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with pytest.raises(UserError, match="points outside"):
        extract(tmp_path / "a.zip", tmp_path / "target")


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.png": bytes(500)}))
    data[200] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.zip: damaged archive"):
        extract(tmp_path / "a.zip", tmp_path / "target")
    assert files_of(tmp_path).keys() == {"a.zip"}


def test_files_never_exist_twice_on_the_disk(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({f"{n}.png": os.urandom(1_000_000) for n in range(4)}))
    before = archive.stat().st_blocks
    extract(archive, tmp_path / "target")
    after = archive.stat().st_blocks
    if after == before:
        pytest.skip("this file system cannot give blocks back")
    assert after < before / 20


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 10_000
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    monkeypatch.setattr(div2k, "HR", ARCHIVES[:2])
    caplog.set_level("INFO")
    with pytest.raises(UserError, match=r"needed, 0\.0 MB free; .*data\.root"):
        Div2k(url, archives=ARCHIVES).fetch(tmp_path / "DIV2K", tmp_path / "cache")
    assert "needs" in caplog.text
    assert not (tmp_path / "DIV2K").exists()


def test_missing_data_is_one_line_with_size_and_command(tmp_path: Path) -> None:
    folder = str(tmp_path / "DIV2K" / "DIV2K_train_HR")
    data = TripletDataModule([folder], [], root=str(tmp_path / "DIV2K"), source=Div2k())
    with pytest.raises(UserError, match=r"3\.5 GB.*data\.root") as error:
        data.prepare_data()
    assert "python prepare.py data=div2k" in str(error.value)


def test_fetched_data_is_prepared(url: str, tmp_path: Path) -> None:
    root = tmp_path / "DIV2K"
    source = Div2k(url, archives=ARCHIVES[:2])
    data = TripletDataModule(
        [str(root / "DIV2K_train_HR")], [str(root / "DIV2K_valid_HR")],
        root=str(root), source=source, crop_size=32, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    data.fetch()
    data.prepare_data()
    data.setup()
    assert len(data._train[0].stems) == 3
    assert len(data.val_dataloader()) == 1
