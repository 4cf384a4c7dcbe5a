"""kd-export as a person uses it."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kd_lightning.commands import export
from kd_lightning.deploy import export as exporting
from kd_lightning.files import mode_of


def test_the_weights_beside_a_graph_are_not_overwritten_unasked(
    tmp_path: Path, fast_weights: Path, capsys
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.bin").write_bytes(b"mine")
    command = [str(fast_weights), "-o", str(tmp_path / "a.xml")]
    assert export.main(command) == 2
    assert f"{tmp_path / 'a.bin'} exists; use --force" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]
    assert export.main([*command, "--force"]) == 0
    assert (tmp_path / "a.bin").stat().st_size > 100


def test_a_broken_link_is_not_overwritten_unasked(tmp_path: Path, fast_weights: Path) -> None:
    (tmp_path / "a.onnx").symlink_to("none.onnx")
    assert export.main([str(fast_weights), "-o", str(tmp_path / "a.onnx")]) == 2
    assert (tmp_path / "a.onnx").is_symlink()


def test_images_to_calibrate_with_are_refused_where_nothing_is_calibrated(
    tmp_path: Path, fast_weights: Path, capsys
) -> None:
    command = [str(fast_weights), "-o", str(tmp_path / "a.onnx"), "--calibration", str(tmp_path)]
    assert export.main(command) == 2
    assert "--calibration has a meaning for --precision int8 alone" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.safetensors", "a.xml", "a.kdw"])
def test_a_replaced_export_keeps_its_permissions(
    tmp_path: Path, fast_weights: Path, name: str
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / name).write_bytes(b"old")
    (tmp_path / name).chmod(0o600)
    assert export.main([str(fast_weights), "-o", str(tmp_path / name), "--force"]) == 0
    assert mode_of(tmp_path / name) == 0o600


@pytest.mark.parametrize("name", ["a.safetensors", "a.onnx", "a.xml"])
def test_a_disk_that_takes_nothing_is_named_in_one_line(
    tmp_path: Path, fast_weights: Path, capsys, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    (tmp_path / "file").touch()
    assert export.main([str(fast_weights), "-o", str(tmp_path / "file" / name)]) == 2

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert export.main([str(fast_weights), "-o", str(tmp_path / name)]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert f"{name}: cannot write (" in line and "data." not in line
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("folder", ["web", "web/", "web.v1/", "there.v1"])
def test_a_folder_takes_the_browsers_file(tmp_path: Path, fast_weights: Path, folder: str) -> None:
    (tmp_path / "there.v1").mkdir()
    assert export.main([str(fast_weights), "-o", f"{tmp_path}/{folder}"]) == 0
    assert [file.name for file in (tmp_path / folder).iterdir()] == ["fast.kdw"]


def test_a_refused_export_leaves_no_folder_behind(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for output in ("new/", "new/newer/a.glsl", "mine/"):
        assert export.main(["swinir_small", "-o", f"{tmp_path}/{output}"]) == 2
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["mine"]


def test_leftovers_of_a_killed_export_go_and_those_of_a_running_one_stay(
    tmp_path: Path, fast_weights: Path
) -> None:
    for name, age in ((".tmp-old", 7200), (".tmp-young", 1)):
        (tmp_path / name).mkdir()
        for path in (tmp_path / name / "a.xml", tmp_path / name):
            path.touch()
            os.utime(path, (time.time() - age,) * 2)
    (tmp_path / ".tmp-written-to").mkdir()
    (tmp_path / ".tmp-written-to" / "a.bin").touch()
    os.utime(tmp_path / ".tmp-written-to", (time.time() - 7200,) * 2)
    assert export.main([str(fast_weights), "-o", str(tmp_path / "a.kdw")]) == 0
    assert sorted(os.listdir(tmp_path)) == [".tmp-written-to", ".tmp-young", "a.kdw"]


def test_a_killed_export_leaves_only_what_later_ones_remove(
    tmp_path: Path, fast_weights: Path
) -> None:
    code = (
        "import os, sys\nfrom kd_lightning.commands import export as command\n"
        "from kd_lightning.deploy import export\n"
        "export.write_browser = lambda *_: os.kill(os.getpid(), 15)\ncommand.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, str(fast_weights), "-o", str(tmp_path / "a.kdw")]
    assert subprocess.run(command).returncode == -15
    (left,) = os.listdir(tmp_path)
    os.utime(tmp_path / left, (time.time() - 7200,) * 2)
    assert export.main(command[3:]) == 0
    assert os.listdir(tmp_path) == ["a.kdw"]


def test_an_ending_of_no_export_is_named(tmp_path: Path, fast_weights: Path, capsys) -> None:
    assert export.main([str(fast_weights), "-o", str(tmp_path / "web.v1")]) == 2
    error = capsys.readouterr().err
    assert "web.v1: cannot write .v1; exports are .safetensors" in error
    assert "end a folder's name in /" in error and not list(tmp_path.iterdir())


def test_an_error_that_nobody_foresaw_is_one_line_and_with_debug_a_traceback(
    tmp_path: Path, fast_weights: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(exporting, "export", broken)
    command = [str(fast_weights), "-o", str(tmp_path / "a.onnx")]
    assert export.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "KeyError: 'a bug' (unforeseen; --debug" in error
    assert export.main([*command, "--debug"]) == 2
    assert "in broken" in capsys.readouterr().err
