"""kd-enhance as a person uses it."""

import io
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kd_lightning.commands import enhance as enhance_cli
from kd_lightning.deploy.enhance import enhance_bands
from kd_lightning.models.pretrained import shipped

PIXELS = np.random.default_rng(2).integers(0, 256, (14, 19, 3), np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(PIXELS).save(path)
    return path


@pytest.fixture
def call(fast_weights: Path):
    def run(*arguments: object) -> int:
        fixed = ["--weights", str(fast_weights), "--backend", "torch", "--device", "cpu"]
        return enhance_cli.main([*map(str, arguments), *fixed])

    return run


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_one_file_to_one_file(photo: Path, tmp_path: Path, call) -> None:
    out = tmp_path / "new" / "out.png"
    assert call(photo, "-o", out) == 0
    assert size(out) == (38, 28)
    assert call(photo, "-o", tmp_path / "same.jpg", "--scale", 1) == 0
    assert size(tmp_path / "same.jpg") == (19, 14)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_students_of_the_package_are_found_by_name(photo: Path, tmp_path: Path, name: str) -> None:
    command = [str(photo), "-o", str(tmp_path / "out.png"), "--weights", name, "--backend", "torch"]
    assert enhance_cli.main(command) == 0
    assert size(tmp_path / "out.png") == (38, 28)


def test_folders_and_globs_go_to_a_folder(photo: Path, tmp_path: Path, call) -> None:
    Image.fromarray(PIXELS).save(photo.with_name("b.jpg"))
    Image.fromarray(PIXELS).quantize(8).save(photo.with_name("c.gif"))
    (photo.parent / "notes.txt").write_text("no picture")
    assert call(photo.parent, "-o", tmp_path / "all") == 0
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["b.jpg", "c.png", "photo.png"]
    assert call(f"{photo.parent}/*.jpg", "-o", f"{tmp_path}/some/") == 0
    assert [p.name for p in (tmp_path / "some").iterdir()] == ["b.jpg"]


@pytest.mark.parametrize(
    ("name", "output", "line"),
    [
        ("", "out/", "an input is empty, as an unset variable leaves it"),
        ("photo.png", "/dev/null", "/dev/null is neither a folder nor a file that ends as images"),
        ("photo.png", "notes", "notes is neither a folder nor a file that ends as images"),
    ],
)
def test_what_names_no_input_or_output_is_one_line(
    name: str, output: str, line: str, photo: Path, monkeypatch, call, capsys
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("notes").write_text("mine")
    assert call(name, "-o", output) == 2
    assert line in capsys.readouterr().err
    assert Path("notes").read_text() == "mine"


def test_a_file_that_appears_meanwhile_is_kept(
    photo: Path, tmp_path: Path, call, capsys, monkeypatch
) -> None:
    out = tmp_path / "out.png"

    def slowly(*arguments: Any) -> Any:
        yield from enhance_bands(*arguments)
        out.write_bytes(b"theirs")

    monkeypatch.setattr("kd_lightning.deploy.enhance.enhance_bands", slowly)
    assert call(photo, "-o", out) == 1
    assert f"{out} exists by now and was kept; the result is in " in capsys.readouterr().err
    assert out.read_bytes() == b"theirs"
    (beside,) = tmp_path.glob("out-*.png")
    assert size(beside) == (38, 28)


def test_nothing_is_overwritten_without_force(photo: Path, tmp_path: Path, call, capsys) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"mine")
    assert call(photo, "-o", out) == 1
    assert "use --force" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert call(photo, "-o", out, "--force") == 0
    assert size(out) == (38, 28)


def test_a_bad_file_is_named_and_skipped(photo: Path, tmp_path: Path, call, capsys) -> None:
    bad = photo.with_name("bad.png")
    bad.write_bytes(photo.read_bytes()[:60])
    missing = photo.with_name("missing.png")
    out = tmp_path / "out"
    assert call(bad, missing, photo, "-o", out) == 1
    error = capsys.readouterr().err
    assert "bad.png" in error
    assert "missing.png: no such file" in error
    assert [p.name for p in out.iterdir()] == ["photo.png"]


def test_standard_input_to_standard_output(photo: Path, fast_weights: Path) -> None:
    command = [sys.executable, "-m", "kd_lightning.commands.enhance", "-", "-o", "-"]
    command += ["--weights", str(fast_weights), "--backend", "torch"]
    done = subprocess.run(command, input=photo.read_bytes(), capture_output=True, check=True)
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert image.format == "PNG"
        assert image.size == (38, 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing-*.png", "-o", "x"], "matches no file"),
        (["{folder}/empty", "-o", "x"], "no images in this folder"),
        (["{photo}", "{photo}", "-o", "-"], "standard output takes one of the 2"),
        (["{photo}", "-o", "x.jpg", "--quality", "0"], "--quality 0: give 1 to 100"),
        (["{photo}", "-o", "x.jpg", "--quality", "101"], "--quality 101: give 1 to 100"),
        (["{photo}", "-o", "x.png", "--quality", "9"], "--quality: has a meaning for .jpg, "),
        (["{photo}", "{folder}/copy/photo.png", "-o", "{photo}"], "need a folder"),
        (["{photo}", "-o", "x.png", "--tile", "big"], "--tile big"),
        (["{photo}", "-o", "x.png", "--weights", "student_cn"], "whose students are student_cnn, "),
        (["{photo}", "-o", "x.png", "--weights", "none.safetensors"], "none.safetensors: no such"),
    ],
)
def test_wrong_commands_end_in_one_line(
    photo: Path, tmp_path: Path, capsys, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "photo.png").write_bytes(photo.read_bytes())
    filled = [a.format(photo=photo, folder=tmp_path) for a in arguments]
    assert enhance_cli.main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_loads_nothing_heavy() -> None:
    """Modules, not seconds: 0.3 s is what a quiet machine shows (experiments/benchmark)."""
    code = (
        "import sys; from kd_lightning.commands.enhance import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'PIL', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def _cpu_seconds(*command: str) -> float:
    """Processor time of a new Python, which other work on the machine hardly changes; the lesser
    of two."""
    spent = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_small_picture_costs_little_beyond_importing_the_backend(
    photo: Path, tmp_path: Path, backend: str
) -> None:
    """On a quiet machine of 2026 the imports take 1.6 s and one picture 2.2 s in all."""
    pytest.importorskip(backend)
    imports = _cpu_seconds("-c", f"import torch, {backend}")
    command = ["-m", "kd_lightning.commands.enhance", str(photo), "--backend", backend]
    picture = _cpu_seconds(*command, "-o", str(tmp_path / "out.png"), "--force")
    assert picture < 1.7 * imports


def _peak(path: Path, side: int, backend: str, weights: str, tile: str = "auto") -> int:
    """Bytes of resident memory that kd-enhance took for a picture of side x side."""
    pattern = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(np.tile(pattern, (side // 200, side // 200, 1))).save(path)
    code = (
        "import sys; from kd_lightning.commands.enhance import main\n"
        "from kd_lightning.memory import peak_memory\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(peak_memory())"
    )
    command = [sys.executable, "-c", code, str(path), "-o", str(path.with_suffix(".png"))]
    command += ["--scale", "1", "--backend", backend, "--weights", weights]
    command += ["--tile", tile]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak_memory() needs Linux")
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_memory_of_a_hundred_megapixels_stays_below_two_gigabytes(
    tmp_path: Path, fast_weights: Path, backend: str
) -> None:
    """What the shipped student needs for its tiles, and what a pixel costs any network, from two
    sizes; the picture itself was measured too (docs/deploy.md)."""
    pytest.importorskip(backend)
    small, large = (
        _peak(tmp_path / f"{side}.bmp", side, backend, str(fast_weights), "512")
        for side in (1800, 2800)
    )
    per_pixel = (large - small) / (2800**2 - 1800**2)
    student = _peak(tmp_path / "1400.bmp", 1400, backend, "student_cnn")
    assert student + per_pixel * (100e6 - 1400**2) < 2e9
