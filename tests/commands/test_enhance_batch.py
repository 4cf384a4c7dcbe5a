"""What one image does to kd-enhance concerns that image alone, and is said in one line."""

import errno
import io
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning import __version__
from kd_lightning.commands import enhance as command
from kd_lightning.deploy import enhance as computing
from tests.imageio.cases import CASES

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
PIXELS = np.random.default_rng(2).integers(0, 256, (14, 19, 3), np.uint8)
Call = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(PIXELS).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def call(fast_weights: Path) -> Call:
    def run(*arguments: object) -> int:
        fixed = ["--weights", str(fast_weights), "--backend", "torch", "--device", "cpu"]
        return command.main([*map(str, arguments), *fixed])

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        KeyError(3),
        TypeError("a bug"),
        struct.error("x"),
        MemoryError(),
        RuntimeError("y\nz"),
        OSError("broken data stream"),
        OSError(errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_an_error_of_one_image_is_one_line_and_the_others_come_out(
    folder: Path, tmp_path: Path, call: Call, capsys, monkeypatch, error: Exception
) -> None:
    count = 0

    def sometimes(*arguments: object) -> Iterator[np.ndarray]:
        nonlocal count
        count += 1
        if count == 2:
            raise error
        yield from bands(*arguments)

    bands = computing.enhance_bands
    monkeypatch.setattr(computing, "enhance_bands", sometimes)
    assert call(folder, "-o", tmp_path / "out") == 1
    assert names(tmp_path / "out") == ["a.png", "c.png"]
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "b.png" in line] == [said[1]]
    assert said[1].startswith("kd-enhance: skipped ")
    assert "Traceback" not in "".join(said)
    count = 0
    assert call(folder, "-o", tmp_path / "again", "--debug") == 1
    assert "in sometimes" in capsys.readouterr().err


def test_a_bug_says_how_to_see_where_it_is(folder: Path, tmp_path: Path, call, capsys, monkeypatch):
    monkeypatch.setattr(computing, "enhance_bands", lambda *_: [][0])
    assert call(folder / "a.png", "-o", tmp_path / "a.png") == 1
    assert "IndexError: list index out of range (unforeseen; --debug" in capsys.readouterr().err


def test_an_error_before_the_first_image_is_one_line_too(folder, tmp_path, capsys) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"<html>")
    for weights in ("none.onnx", str(tmp_path / "a.safetensors"), str(folder)):
        arguments = [str(folder), "-o", str(tmp_path / "out"), "--weights", weights]
        assert command.main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "width", "suffix", "limit"),
    [("a.webp", 9000, ".webp", "16383"), ("a.jpg", 33000, ".jpg", "65500")],
)
def test_a_result_that_the_format_cannot_hold_is_refused_before_it_is_computed(
    tmp_path: Path, call: Call, capsys, monkeypatch, name: str, width: int, suffix: str, limit: str
) -> None:
    def computed(*_: object) -> Iterator[np.ndarray]:
        raise AssertionError("computed")
        yield

    Image.new("RGB", (width, 2)).save(tmp_path / name)
    monkeypatch.setattr(computing, "enhance_bands", computed)
    assert call(tmp_path / name, "-o", tmp_path / "out/") == 1
    assert (
        f"{width * 2}x4 pixels, {suffix} holds {limit} a side; use .png" in capsys.readouterr().err
    )


def test_a_disk_that_takes_nothing_is_named_with_what_to_do(
    folder: Path, tmp_path: Path, call: Call, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert call(folder / "a.png", "-o", tmp_path / "file" / "a.png") == 1

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert call(folder / "a.png", "-o", tmp_path / "b.png") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "skipped /" in line]
    assert len(said) == 2
    blocked = f"file/a.png: cannot write ({tmp_path}/file is no folder); name another folder"
    assert said[0].endswith(blocked)
    assert "b.png: cannot write (No space left on device); free disk space, or name " in said[1]
    assert names(tmp_path) == ["file", "in"]


def test_what_lies_in_a_folders_place_is_named(
    folder: Path, tmp_path: Path, call: Call, capsys
) -> None:
    (tmp_path / "link").symlink_to("none")
    for output, wrong, trouble in (
        ("in/a.png/new/b.png", "in/a.png", "no folder"),
        ("link/", "link", "a link to nothing"),
    ):
        assert call(folder / "a.png", "-o", f"{tmp_path}/{output}") == 1
        said = capsys.readouterr().err
        assert f"cannot write ({tmp_path}/{wrong} is {trouble}); name another folder" in said
        assert "disk" not in said


def test_what_an_encoder_says_is_not_taken_for_a_full_disk(
    folder: Path, tmp_path: Path, call: Call, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("broken data stream when writing image file")

    monkeypatch.setattr(Image.Image, "save", refuse)
    assert call(folder / "a.png", "-o", tmp_path / "a.jpg") == 1
    error = capsys.readouterr().err
    assert "broken data stream" in error and "disk" not in error


@pytest.mark.parametrize(
    ("output", "written"),
    [
        ("results_1.5", "results_1.5/a.png"),
        ("results", "results/a.png"),
        ("there.png", "there.png/a.png"),  # a folder already
        ("there.mp4", "there.mp4/a.png"),
        ("new.png/", "new.png/a.png"),
        ("v1.x2/", "v1.x2/a.png"),
        ("v1.jpg", "v1.jpg"),
        ("v1.TIFF", "v1.TIFF"),
        ("x=1, y=2.png", "x=1, y=2.png"),
    ],
)
def test_an_output_is_a_file_where_it_ends_like_an_image_and_else_a_folder(
    folder: Path, tmp_path: Path, call: Call, output: str, written: str
) -> None:
    (tmp_path / "there.png").mkdir()
    (tmp_path / "there.mp4").mkdir()
    assert call(folder / "a.png", "-o", f"{tmp_path}/{output}") == 0
    with Image.open(tmp_path / written) as image:
        assert image.size == (38, 28)


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["a.png"], "out.gif", "cannot write .gif; end the file's name in .png, "),
        (["a.png"], "out.pgn", "or a folder's in /"),
        (["a.png"], "out.mp4", "cannot write .mp4"),
        (["a.png"], "out.JP2", "cannot write .jp2"),
        (["a.png", "b.png"], "v1.x2", "cannot write .x2"),
        (["a.png", "b.png"], "out.png", "names one file, but 2 images need a folder"),
        (["a.png", "b.png"], "file", "names one file, but 2 images need a folder"),
    ],
)
def test_an_output_that_is_neither_is_refused(
    folder: Path, tmp_path: Path, call: Call, capsys, inputs: list[str], output: str, message: str
) -> None:
    (tmp_path / "file").touch()
    assert call(*(folder / name for name in inputs), "-o", tmp_path / output) == 2
    assert message in capsys.readouterr().err
    assert names(tmp_path) == ["file", "in"]


def test_a_link_in_the_way_is_replaced_and_what_it_leads_to_is_not(
    folder: Path, tmp_path: Path, call: Call
) -> None:
    original = (folder / "b.png").read_bytes()
    for name, goal in (("link.png", folder / "b.png"), ("broken.png", folder / "none.png")):
        link = tmp_path / name
        link.symlink_to(goal)
        assert call(folder / "a.png", "-o", link) == 1
        assert link.is_symlink()
        assert call(folder / "a.png", "-o", link, "--force") == 0
        assert not link.is_symlink()
    assert (folder / "b.png").read_bytes() == original
    assert not (folder / "none.png").exists()


def test_names_of_any_kind_are_read_written_and_said_in_one_line(
    tmp_path: Path, call: Call, capsys
) -> None:
    odd = ["new\nline.png", "-dash.png", "[x].png", "a%d=1.png", "猫 空白 .png", "u\u2028v.png"]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in odd:
        Image.fromarray(PIXELS).save(folder / name)
    (folder / "bad\nname.png").touch()
    assert call(folder, "-o", out) == 1
    assert names(out) == sorted(odd)
    said = capsys.readouterr().err.split("\n")
    assert len(said) == 4 and "bad\\nname.png: no image" in said[1]


def test_a_name_that_is_not_utf8_is_read_and_written(tmp_path: Path, fast_weights: Path) -> None:
    folder = os.fsencode(tmp_path)
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    os.rename(folder + b"/a.png", folder + b"/\xe9.png")
    (tmp_path / "bad.png").touch()
    os.rename(folder + b"/bad.png", folder + b"/bad\xe9.png")
    out = folder + b"/out"
    run = [sys.executable, "-m", "kd_lightning.commands.enhance", folder, "-o", out]
    done = subprocess.run([*run, "--backend", "torch"], capture_output=True)
    there = os.listdir(out)
    for name in (b"/\xe9.png", b"/bad\xe9.png", b"/out/\xe9.png"):
        os.remove(folder + name)  # other tests' clean-up would stumble over it
    assert done.returncode == 1 and there == [b"\xe9.png"]
    assert b"bad\\udce9.png: no image" in done.stderr and b"Traceback" not in done.stderr


def test_standard_input_is_named_so(call: Call, capsys, monkeypatch, tmp_path: Path) -> None:
    class Stream:
        buffer = io.BytesIO(b"<html>404</html>")

    monkeypatch.setattr(sys, "stdin", Stream)
    assert call("-", "-o", tmp_path / "a.png") == 1
    error = capsys.readouterr().err
    assert "skipped standard input: no image" in error and "_io" not in error


def test_a_reader_that_is_gone_ends_the_command_quietly(folder: Path, fast_weights: Path) -> None:
    run = [sys.executable, "-m", "kd_lightning.commands.enhance", str(folder / "a.png")]
    run += ["-o", "-", "--backend", "torch", "--weights", str(fast_weights)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        error = process.stderr.read().decode()
    assert process.returncode == 1
    assert "a.png: Broken pipe" in error and "Exception" not in error


def test_leftovers_of_a_killed_run_go_and_those_of_a_running_one_stay(
    folder: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "out"
    for name, age in ((".tmp-old", 7200), (".tmp-young", 1), ("old.png", 7200)):
        out.mkdir(exist_ok=True)
        (out / name).touch()
        os.utime(out / name, (time.time() - age,) * 2)
    assert call(folder, "-o", out) == 0
    assert names(out) == [".tmp-young", "a.png", "b.png", "c.png", "old.png"]


def test_what_a_folder_holds_besides_images_is_counted_in_one_line(
    folder: Path, tmp_path: Path, call: Call, capsys
) -> None:
    for name in ("._a.png", "d.heic", "e.avif", "f.HEIC"):
        (folder / name).touch()
    assert call(folder, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"kd-enhance: {folder}: 4 entries left out (1 ._*, 1 .avif, 2 .heic)"
    assert len(said) == 2


def test_a_glob_through_links_that_lead_in_a_circle_finds_each_image_once(
    folder: Path, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "elsewhere" / "d.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "up").symlink_to("..")
    assert call(f"{folder}/**/*.png", "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["a.png", "b.png", "c.png", "d.png"]


def test_an_image_above_the_limit_of_pixels_is_refused_and_the_limit_can_be_moved(
    folder: Path, tmp_path: Path, call: Call, capsys
) -> None:
    assert call(folder / "a.png", "-o", tmp_path / "a.png", "--max-pixels", 265) == 1
    said = capsys.readouterr().err
    assert "a.png: 19x14 are more than 265 pixels; cut it into parts, or raise --max-p" in said
    assert call(folder / "a.png", "-o", tmp_path / "a.png", "--max-pixels", 266) == 0
    assert call(folder / "a.png", "-o", tmp_path / "b.png", "--max-pixels", 0) == 2
    assert "--max-pixels 0: give at least 1" in capsys.readouterr().err


def test_of_two_inputs_of_one_output_the_second_is_skipped_and_the_rest_come_out(
    folder: Path, tmp_path: Path, call: Call, capsys
) -> None:
    Image.fromarray(PIXELS).save(folder / "b.ppm")
    for again in ((), ("--skip-existing",), ("--force",)):
        assert call(folder, "-o", tmp_path / "out", *again) == 1
        said = capsys.readouterr().err
        assert f"skipped {folder / 'b.ppm'}: its result would be {tmp_path}/out/b.png, as " in said
        assert "rename one of the two, or give it an -o of its own" in said
        assert names(tmp_path / "out") == ["a.png", "b.png", "c.png"]


def test_a_folder_goes_on_where_it_was_left_with_skip_existing(
    folder: Path, tmp_path: Path, call: Call, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run leaves no unfinished output, so that what is there is whole."""
    out, started = tmp_path / "out", []

    def killed(*arguments: object) -> Iterator[np.ndarray]:
        started.append(arguments)
        if len(started) == 2:
            raise KeyboardInterrupt
        yield from bands(*arguments)

    bands = computing.enhance_bands
    with monkeypatch.context() as patched:
        patched.setattr(computing, "enhance_bands", killed)
        assert call(folder, "-o", out) == 130
    assert names(out) == ["a.png"]
    first = (out / "a.png").stat().st_mtime_ns
    assert call(folder, "-o", out) == 1
    assert "use --force to overwrite it, or --skip-existing to" in capsys.readouterr().err
    (out / "c.png").unlink()
    assert call(folder, "-o", out, "--skip-existing") == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "kd-enhance: 2 of 3 images are there already and stay as they are"
    assert len(said) == 2 and names(out) == ["a.png", "b.png", "c.png"]
    assert call(folder, "-o", out, "--skip-existing") == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert (out / "a.png").stat().st_mtime_ns == first


def test_skip_existing_takes_no_link_to_nothing_folder_or_input_for_a_finished_file(
    folder: Path, tmp_path: Path, call: Call, capsys
) -> None:
    out = tmp_path / "out"
    (out / "b.png").mkdir(parents=True)
    (out / "a.png").symlink_to("none.png")
    (out / "c.png").symlink_to(folder / "c.png")
    assert call(folder, "-o", out, "--skip-existing") == 1
    assert capsys.readouterr().err.count("exists; use --force") == 3
    assert call(folder, "-o", folder, "--skip-existing") == 1
    assert capsys.readouterr().err.count("exists; use --force") == 3
    with pytest.raises(SystemExit):
        call(folder, "-o", out, "--skip-existing", "--force")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_quality_makes_smaller_files_and_is_95_by_default(
    folder: Path, tmp_path: Path, call: Call, suffix: str
) -> None:
    sizes = {}
    for name, options in (("low", ("--quality", 20)), ("95", ("--quality", 95)), ("unsaid", ())):
        assert call(folder / "a.png", "-o", tmp_path / f"{name}{suffix}", *options) == 0
        sizes[name] = (tmp_path / f"{name}{suffix}").read_bytes()
    assert len(sizes["low"]) < len(sizes["95"])
    assert sizes["95"] == sizes["unsaid"]


@pytest.mark.parametrize("name", ["enhance", "export", "dashboard", "train", "prepare"])
def test_each_command_says_the_version_of_the_package(name: str) -> None:
    code = f"from kd_lightning.commands.{name} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"kd_lightning {__version__}\n"


def test_sixteen_bit_grey_tiffs_stay_so_in_a_folder(tmp_path: Path, call: Call) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(CASES["tiff-raw-I;16"].make(None))
    assert call(tmp_path / "in", "-o", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.tif") as image:
        assert (image.mode, image.size) == ("I;16", (34, 24))
