"""The page of many runs: what it holds, and that it trusts nothing that it shows."""

import base64
import hashlib
import json
import re
import shutil
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from PIL import Image

from kd_lightning.benchmark.report import pareto, quality_time
from kd_lightning.runs.benchmark import read_benchmark
from kd_lightning.runs.dashboard import collect, page, varied
from kd_lightning.runs.read import find_runs
from tests.runs import ROOT

EVIDENCE = ROOT / "experiments" / "small_runs"
BENCHMARK = ROOT / "experiments" / "benchmark" / "benchmark.json"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028'\"`${1}"


class Elements(HTMLParser):
    """The elements of a page, and the text of those that the browser does not parse."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, text: str) -> None:
        if self.tags and self.tags[-1][0] in self.raw and self.cdata_elem:
            self.raw[self.tags[-1][0]].append(text)


@pytest.fixture(scope="module")
def committed() -> Elements:
    return Elements(page([ROOT / "experiments"], read_benchmark(BENCHMARK)))


def hostile(folder: Path) -> Path:
    """A copied run whose every string is hostile."""
    name = HOSTILE.replace("/", "_")[:100]
    shutil.copytree(EVIDENCE / "alpha_0.5", folder / name)
    config = yaml.safe_load((folder / name / "config.yaml").read_text())
    config[HOSTILE] = {"key": HOSTILE, "number": float("nan")}
    config["loss"]["alpha"] = HOSTILE
    (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / name / "overrides.yaml").write_text(yaml.safe_dump([f"loss.alpha={HOSTILE}"]))
    scores = {"ssim_rgb": float("nan"), "psnr_y": 1.0, HOSTILE: 2.0}
    (folder / name / "metrics.json").write_text(json.dumps({HOSTILE: {"student": scores}}))
    (folder / name / "metrics.csv").write_text(
        '"' + HOSTILE.replace('"', '""') + '",step\n1,0\n2,1\n'
    )
    (folder / f"bad {name}").mkdir()
    (folder / f"bad {name}" / "metrics.csv").write_text("x")
    return folder


def test_page_of_the_committed_experiments_is_small(committed: Elements) -> None:
    text = page([ROOT / "experiments"], read_benchmark(BENCHMARK))
    assert len(text.encode()) < 2_000_000
    content = json.loads(committed.raw["script"][0])
    assert len(content["runs"]) >= 30
    assert content["damaged"] == []


def test_page_runs_and_loads_nothing_but_its_own(committed: Elements) -> None:
    (policy,) = (a["content"] for t, a in committed.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, text in (
        ("script", committed.raw["script"][1]),
        ("style", committed.raw["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    for _, attributes in committed.tags:
        assert not {"src", "style", "onclick", "onload"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")


def test_nothing_of_a_run_folder_becomes_an_element(tmp_path: Path, committed: Elements) -> None:
    found = Elements(page([hostile(tmp_path)]))
    assert found.tags == committed.tags[:4] + found.tags[4:]
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in committed.tags]
    content = json.loads(found.raw["script"][0])
    assert content["runs"][0]["overrides"] == [f"loss.alpha={HOSTILE}"]
    assert content["runs"][0]["results"][HOSTILE]["student"]["ssim_rgb"] is None
    assert len(content["damaged"]) == 1


def test_config_and_curves_come_back_whole() -> None:
    content = collect([EVIDENCE])
    runs, _ = find_runs(EVIDENCE)
    assert [run["name"] for run in content["runs"]] == [run.folder.name for run in runs]
    for shown, run in zip(content["runs"], runs, strict=True):
        for key, place in zip(content["keys"], shown["values"], strict=True):
            expected = run.config.get(key)
            if place < 0:
                assert key not in run.config
            elif isinstance(expected, list | dict):
                assert json.loads(content["values"][place]) == expected
            else:
                assert content["values"][place] == expected
                assert type(content["values"][place]) is type(expected)
        place, values = shown["curves"]["train/loss"]
        assert content["steps"][place][-1] == run.curves["train/loss"].steps[-1]
        assert values[-1] == pytest.approx(run.curves["train/loss"].values[-1], rel=1e-4)


def test_columns_are_what_people_set() -> None:
    keys = varied(find_runs(EVIDENCE)[0])
    assert {"loss.alpha", "loss.teacher_weight", "seed", "optimizer.lr"} <= set(keys)
    assert not {"name", "run_folder", "data.root", "data.num_workers"} & set(keys)


def test_images_of_a_run_are_spread_over_its_epochs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(EVIDENCE / "alpha_0.5", run)
    (run / "images").mkdir()
    for epoch in range(300):
        Image.new("RGB", (4, 2), (epoch % 256, 0, 0)).save(
            run / "images" / f"val_0801_epoch_{epoch:04d}.png"
        )
    Image.new("RGB", (4, 2)).save(run / "images" / "test_set5.png")
    (run / "images" / "val_0802_epoch_0000.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    huge = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    header = struct.pack(">I4s", len(huge), b"IHDR") + huge
    bomb = b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", zlib.crc32(b"IHDR" + huge))
    (run / "images" / "val_0803_epoch_0000.png").write_bytes(bomb)
    content = collect([tmp_path])
    images = content["runs"][0]["images"]
    assert images.keys() == {"test_set5", "val_0801"}
    epochs = [epoch for epoch, _ in images["val_0801"]]
    assert 30 <= len(epochs) <= 120
    assert (epochs[0], epochs[-1]) == (0, 299)
    assert images["test_set5"][0][0] == -1
    assert "val_0802" in content["damaged"][0]["folder"]
    assert "val_0803" in content["damaged"][1]["folder"]


def test_quality_and_time_are_those_of_the_benchmark() -> None:
    expected = quality_time(json.loads(BENCHMARK.read_text()))
    methods = {
        m.name: (m.ms["1080p"], m.quality["set5"]["psnr_y"]) for m in read_benchmark(BENCHMARK)
    }
    assert methods == expected
    assert "student_fast default" in pareto(methods)


@pytest.mark.parametrize("content", ["{", "[]", '{"speed": [], "timed_as": 3, "quality": {}}'])
def test_another_file_is_no_benchmark(tmp_path: Path, content: str) -> None:
    (tmp_path / "benchmark.json").write_text(content)
    with pytest.raises(ValueError, match="holds no quality and speed"):
        read_benchmark(tmp_path / "benchmark.json")


def test_scripts_hold_no_way_to_make_html_of_text() -> None:
    for file in (ROOT / "kd_lightning" / "runs" / "web").glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()
        )
