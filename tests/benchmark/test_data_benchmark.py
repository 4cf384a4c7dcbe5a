"""The data benchmark: what it compares is the same data, and its page names no folder of the
machine."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from kd_lightning.benchmark import data as benchmark
from kd_lightning.benchmark.data_peers import lmdb_reader, rows_reader, strips_reader


@pytest.fixture(autouse=True)
def crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The photographs of the tests are small."""
    monkeypatch.setattr(benchmark, "CROP", 32)


def test_formats_and_preparation_are_reported(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litdata", None)  # as if not installed
    sections = ("--section", "formats", "--section", "prepare")
    options = ("--hr", str(photos / "train_HR"), "--seconds", "0.05", "-o", str(tmp_path / "out"))
    assert benchmark.main([*options, *sections]) == 0
    results = json.loads((tmp_path / "out" / "data.json").read_text())
    assert list(results) == ["prepare", "formats"]
    assert {row["name"] for row in results["formats"]["rows"]} >= {"ours: strips", "rows (.npy)"}
    text = (tmp_path / "out" / "README.md").read_text()
    assert "## Preparation" in text and str(tmp_path.parent) not in text


def test_every_format_gives_the_same_crops(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    items = benchmark.items_of(benchmark.triplets_of(photos / "train_HR", tmp_path))
    places = [(n, (slice(n, 40 + n), slice(7, 90))) for n in range(len(items))]
    expected = [items[n].hr.read()[place] for n, place in places]
    for reader in (strips_reader, rows_reader, lmdb_reader):
        with reader(items, tmp_path) as read:
            for ours, crop in zip(read(places), expected, strict=True):
                np.testing.assert_array_equal(ours, crop)
