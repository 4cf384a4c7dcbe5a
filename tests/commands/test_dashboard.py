"""kd-dashboard: what it writes, and what it says where it cannot."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kd_lightning.commands.dashboard import main
from tests.runs import ROOT

EVIDENCE = ROOT / "experiments" / "small_runs" / "alpha_0.5"


def content(page: Path) -> dict[str, object]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_benchmark_below_the_folder_is_shown(tmp_path: Path) -> None:
    assert main([str(ROOT / "experiments"), "-o", str(tmp_path / "page.html")]) == 0
    methods = content(tmp_path / "page.html")["benchmark"]
    assert "student_fast int8" in [method["name"] for method in methods]


def test_folders_and_a_benchmark_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(EVIDENCE, tmp_path / name / "run")
    given = ROOT / "experiments" / "benchmark" / "benchmark.json"
    page = tmp_path / "new" / "page.html"
    assert main([f"{tmp_path}/one", f"{tmp_path}/two", str(given), "-o", str(page)]) == 0
    assert [run["name"] for run in content(page)["runs"]] == ["one/run", "two/run"]
    assert content(page)["benchmark"]
    assert content(page)["watch"] == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["notes.txt"], "notes.txt holds no quality and speed"),
        ([".", "-o", "."], ".: is a folder"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kd-dashboard: {expected}")


@contextmanager
def watching(logs: Path, page: Path) -> Iterator[None]:
    """`kd-dashboard logs -o page --watch`, each second, once it has written; Ctrl-C at the end."""
    code = "import kd_lightning.commands.dashboard as d, sys; d.SECONDS = 1; sys.exit(d.main())"
    words = [sys.executable, "-c", code, str(logs), "-o", str(page), "--watch"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            assert b"written" in process.stdout.readline()
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_page_follows_the_runs_while_it_is_watched(tmp_path: Path) -> None:
    logs, page = tmp_path / "logs", tmp_path / "page.html"
    shutil.copytree(EVIDENCE, logs / "0")
    with watching(logs, page):
        assert content(page)["watch"] == 1
        shutil.copytree(EVIDENCE, logs / "1")
        until = time.monotonic() + 60
        while len(content(page)["runs"]) < 2:
            assert time.monotonic() < until
            time.sleep(0.1)
    assert content(page)["watch"] == 0
    assert len(content(page)["runs"]) == 2


def test_no_torch_is_loaded_to_read_runs(tmp_path: Path) -> None:
    code = (
        "import sys, kd_lightning.commands.dashboard as d; "
        "d.main([sys.argv[1], '-o', 'page.html']); "
        "print({'torch', 'wandb', 'hydra', 'numpy'} & sys.modules.keys())"
    )
    words = [sys.executable, "-c", code, str(EVIDENCE)]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"
