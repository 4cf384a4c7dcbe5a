"""Preparation: what it refuses, what it repairs, that no stop at any moment harms it."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.data import disk, teacher_pass
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.degradations.matlab import Matlab
from kd_lightning.data.prepare import prepare_triplets
from kd_lightning.data.store import MANIFEST, ArrayStore, StoredArray
from kd_lightning.data.triplets import Recipe, open_triplets
from kd_lightning.errors import UserError
from tests.data.small_data import picture

Make = Callable[..., TripletDataModule]


def stored(folder: Path) -> dict[str, str]:
    """The hash of every file below `folder`, but for the lock."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_an_image_smaller_than_a_crop_is_named(make_data: Make, data_root: Path) -> None:
    save(data_root / "train_HR" / "small.png", picture(30, 60, 1))
    with pytest.raises(UserError, match=r"small\.png: 60x30 pixels is too small"):
        make_data(teacher=None)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_an_image_without_a_pixel_at_the_scale_is_named(
    scale: int, make_data: Make, data_root: Path
) -> None:
    save(data_root / "train_HR" / "dot.png", picture(1, 60, 1))
    with pytest.raises(UserError, match=rf"dot\.png: 60x1 pixels is too small for scale={scale}"):
        make_data(teacher=None, scale=scale)


def test_an_image_smaller_than_the_ssim_window_is_named(make_data: Make, data_root: Path) -> None:
    save(data_root / "valid_HR" / "tiny.png", picture(10, 60, 1))
    with pytest.raises(UserError, match=r"tiny\.png: .* window of SSIM, 11 pixels"):
        make_data(teacher=None)


def test_a_truncated_training_image_is_named_and_nothing_half_written_stays(
    make_data: Make, data_root: Path, tmp_path: Path
) -> None:
    path = data_root / "train_HR" / "0002.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"0002\.png: .*truncated"):
        make_data()
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not list((tmp_path / "cache").rglob("0002.npy"))


def test_a_forged_size_is_named_before_memory_is_taken(make_data: Make, data_root: Path) -> None:
    path = data_root / "train_HR" / "0002.png"
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"0002\.png: .*60000x60000 are more than") as error:
        make_data()
    assert "\n" not in str(error.value)


def test_a_repaired_image_is_taken_up_by_the_next_run(make_data: Make, data_root: Path) -> None:
    path = data_root / "train_HR" / "0002.png"
    good = path.read_bytes()
    path.write_bytes(good[:300])
    with pytest.raises(UserError):
        make_data()
    path.write_bytes(good)
    assert len(make_data()._train[0].stems) == 5


def test_a_teacher_output_without_an_hr_image_is_named(make_data: Make, data_root: Path) -> None:
    (data_root / "train_HR" / "0003.png").unlink()
    with pytest.raises(UserError, match=r"train_teacher/0003\.png: teacher output without an HR"):
        make_data()


def test_an_hr_image_without_a_teacher_output_is_named(make_data: Make, data_root: Path) -> None:
    (data_root / "train_teacher" / "0003.png").unlink()
    with pytest.raises(UserError, match=r"train_HR/0003\.png: no teacher output"):
        make_data()


def official(data_root: Path, factor: int = 2) -> Path:
    """Official LR files beside train_HR, brighter than a bicubic one, so that they can be told."""
    for path in (data_root / "train_HR").iterdir():
        hr = Image.open(path)
        small = hr.resize((hr.width // factor, hr.height // factor), Image.Resampling.BICUBIC)
        lr = np.array(small) // 2 + 128
        save(data_root / "train_LR_bicubic" / "X2" / f"{path.stem}x2.png", lr)
    return data_root / "train_LR_bicubic" / "X2"


def lr_of(data: TripletDataModule, stem: str) -> np.ndarray:
    return data._train[0].triplets.lr.store.stored(stem).read()


def test_official_lr_files_are_used_where_they_lie_beside_hr(
    make_data: Make, data_root: Path
) -> None:
    folder = official(data_root)
    expected = np.array(Image.open(folder / "0001x2.png"))
    np.testing.assert_array_equal(lr_of(make_data(), "0001"), expected)


def test_official_lr_files_are_left_alone_where_bicubic_is_asked_for(
    make_data: Make, data_root: Path
) -> None:
    official(data_root)
    hr = Image.open(data_root / "train_HR" / "0001.png")
    expected = hr.resize((hr.width // 2, hr.height // 2), Image.Resampling.BICUBIC)
    lr = lr_of(make_data(degradation=Bicubic(2)), "0001")
    np.testing.assert_array_equal(lr, np.array(expected))


def test_lr_files_of_another_scale_are_refused_with_the_factor(
    make_data: Make, data_root: Path
) -> None:
    official(data_root, factor=4)
    with pytest.raises(UserError, match=r"x2\.png: .*it is the HR image at 1/4, but scale=2"):
        make_data()


def test_an_output_of_another_size_is_refused_unless_it_may_be_fitted(
    make_data: Make, data_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = picture(40, 70, 5)
    save(data_root / "train_teacher" / "0000.png", small)
    with pytest.raises(UserError, match=r"train_teacher/0000\.png: 70x40 pixels.*80x64.*resize or"):
        make_data()
    fitted = {}
    for how in ("resize", "pad"):
        data = make_data(size_mismatch=how)
        teacher = data._train[0].triplets.teacher
        assert teacher is not None
        fitted[how] = teacher.stored("0000").read()
        assert fitted[how].shape == (64, 80, 3)
        assert "train_teacher/0000.png" in caplog.text
    expected = np.array(Image.fromarray(small).resize((80, 64), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(fitted["resize"], expected)
    np.testing.assert_array_equal(fitted["pad"][:40, :70], small)
    np.testing.assert_array_equal(fitted["pad"][-1, -1], small[-1, -1])


def test_an_output_for_the_uncropped_hr_image_is_cropped_with_it(
    make_data: Make, data_root: Path
) -> None:
    save(data_root / "train_HR" / "odd.png", picture(61, 71, 5))
    output = picture(61, 71, 6)
    save(data_root / "train_teacher" / "odd.png", output)
    teacher = make_data()._train[0].triplets.teacher
    assert teacher is not None
    np.testing.assert_array_equal(teacher.stored("odd").read(), output[:60, :70])


@pytest.mark.parametrize(
    "change", [{"degradation": "blur"}, {"size_mismatch": "crop"}, {"scale": 5}]
)
def test_a_setting_with_an_unknown_value_is_named(make_data: Make, change: dict) -> None:
    ((key, value),) = change.items()
    with pytest.raises(UserError, match=rf"{key}={value}"):
        make_data(**change)


def test_a_cache_that_cannot_be_written_is_named(make_data: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/.*cannot write.*data\.cache_dir"):
        make_data(cache_dir=str(tmp_path / "file"))


def test_what_is_prepared_is_not_written_again(make_data: Make, tmp_path: Path) -> None:
    make_data()
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    make_data()
    assert {
        p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*") if p.is_file()
    } == files


def test_a_changed_image_is_stored_anew_and_the_others_are_not(
    make_data: Make, data_root: Path
) -> None:
    before = make_data()._train[0].triplets.hr
    times = {stem: before.path(stem).stat().st_mtime_ns for stem in before.entries}
    changed = picture(64, 80, 77)
    save(data_root / "train_HR" / "0000.png", changed)
    after = make_data()._train[0].triplets.hr
    np.testing.assert_array_equal(after.stored("0000").read(), changed)
    same = [s for s in times if after.path(s).stat().st_mtime_ns == times[s]]
    assert same == ["0001", "0002", "0003", "0004"]


def test_changed_settings_never_mix_with_an_old_store(make_data: Make) -> None:
    folders = set()
    for change in (
        {}, {"scale": 3}, {"train_downscale": 2, "crop_size": 16}, {"degradation": Matlab(2)},
        {"size_mismatch": "pad"},
    ):  # fmt: skip
        folders.add(make_data(**change)._train[0].triplets.lr.store.folder)
    assert len(folders) == 5


def test_a_store_of_other_settings_under_the_same_name_is_not_trusted(tmp_path: Path) -> None:
    from kd_lightning.data.store import Origin

    store = ArrayStore(tmp_path, {"scale": 2})
    store.put("a", picture(9, 9, 1), Origin("a.png", 1, 1, "0"))
    store.commit()
    assert set(ArrayStore(tmp_path, {"scale": 2}).entries) == {"a"}
    assert ArrayStore(tmp_path, {"scale": 3}).entries == {}


def test_nested_folders_and_unicode_names(make_data: Make, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    names = ["a/0001.png", "b/0001.png", "größe/猫.bmp"]
    for seed, name in enumerate(names):
        save(folder / name, picture(60, 60, seed))
    data = make_data(train=[str(folder)], val=[], split=0.3, teacher=None)
    stems = data._train[0].stems + data._val[0].stems
    assert sorted(stems) == ["a/0001", "b/0001", "größe/猫"]


def flip_a_byte(path: Path, position: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("position", [0.0, 0.001, 0.5, 1.0])
def test_a_flipped_byte_anywhere_in_the_store_is_found_and_repaired(
    make_data: Make, tmp_path: Path, position: float
) -> None:
    data = make_data()
    store = tmp_path / "cache" / "store"
    assert data.check() == []
    good = stored(store)
    for name in [n for n in good if "/0001." in n or n.endswith(MANIFEST)]:
        flip_a_byte(store / name, position)
        assert data.check() or name.endswith(MANIFEST), name
        data.prepare_data()
        assert stored(store) == good, name
        assert data.check() == []


def test_a_missing_file_of_the_store_is_made_again(make_data: Make, tmp_path: Path) -> None:
    data = make_data()
    store = tmp_path / "cache" / "store"
    good = stored(store)
    for path in store.rglob("0001.npy"):
        path.unlink()
    data.prepare_data()
    assert stored(store) == good


def test_a_source_that_changed_without_a_new_size_or_time_is_found_by_the_check(
    make_data: Make, data_root: Path
) -> None:
    data = make_data(teacher=None)
    path = data_root / "train_HR" / "0001.png"
    stat = path.stat()
    flip_a_byte(path, 0.5)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert {bad.name for bad in data.check()} == {"0001.npy"}


KILLED_RUN = """
import sys
from pathlib import Path
from kd_lightning.data.prepare import prepare_triplets
from kd_lightning.data.degradations.bicubic import Bicubic
from kd_lightning.data.triplets import Recipe, open_triplets

class Folder:
    def folder(self, hr):
        return hr.with_name("train_teacher")

hr, cache = Path(sys.argv[1]), Path(sys.argv[2])
triplets = open_triplets(hr, Recipe(2, Bicubic(2)), Folder(), cache, teacher_required=True)
print("started", flush=True)
prepare_triplets(triplets, list(triplets.files), cache, 2)
"""


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_the_store_as_if_undisturbed(tmp_path: Path) -> None:
    for number in range(120):
        for kind in ("HR", "teacher"):
            save(tmp_path / f"train_{kind}" / f"{number:03}.png", picture(160, 160, number))
    hr = tmp_path / "train_HR"

    def run(cache: Path, seconds: float | None) -> float | None:
        """One preparation, killed after so many seconds of it; those that it took, or None where
        it was killed."""
        command = [sys.executable, "-c", KILLED_RUN, str(hr), str(cache)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            began = time.perf_counter()
            if seconds is not None:
                time.sleep(seconds)
                process.kill()
            process.stdout.read()
        return None if process.returncode == -signal.SIGKILL else time.perf_counter() - began

    whole = run(tmp_path / "undisturbed", None)
    assert whole is not None
    moments = random.Random(1)
    ends = [run(tmp_path / "killed", moments.uniform(0, whole / 16)) for _ in range(20)]
    assert ends.count(None) >= 10
    assert run(tmp_path / "killed", None) is not None
    assert stored(tmp_path / "killed") == stored(tmp_path / "undisturbed")


def test_a_killed_run_is_not_done_again_from_the_start(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "HR" / f"{number}.png", picture(20, 20, number))
    cache = tmp_path / "cache"

    def opened() -> object:
        return open_triplets(
            tmp_path / "HR", Recipe(2, Bicubic(2)), None, cache, teacher_required=False
        )

    triplets = opened()
    prepare_triplets(triplets, ["0", "1", "2"], cache, 1)  # type: ignore[arg-type]
    # As a kill leaves it: a journal in place of the manifest, its last line cut short.
    hr = triplets.hr  # type: ignore[attr-defined]
    manifest = json.loads((hr.folder / MANIFEST).read_text())
    lines = [json.dumps({"stem": stem, **entry}) for stem, entry in manifest["entries"].items()]
    (hr.folder / MANIFEST).unlink()
    (hr.folder / "journal.jsonl").write_text("\n".join(lines)[:-9])
    again = opened()
    assert again.missing(["0", "1", "2"]) == ["2"]  # type: ignore[attr-defined]


class Doubling:
    """Stands in for a network: its output is the LR image with every pixel doubled."""

    key = "doubling-0123"

    def __init__(self) -> None:
        self.calls = 0

    def settings(self) -> dict[str, str]:
        return {"teacher": "doubling"}

    def outputs(
        self, _: object, lr_images: dict[str, StoredArray], folder: Path
    ) -> dict[str, Path]:
        teacher_pass.repair_manifest(folder / self.key, self, folder.name)  # type: ignore[arg-type]
        files = {stem: folder / self.key / f"{stem}.png" for stem in lr_images}
        for stem, path in files.items():
            if not path.exists():
                self.calls += 1
                save(path, lr_images[stem].read().repeat(2, axis=0).repeat(2, axis=1))
        return files


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Doubling:
    teacher = Doubling()
    monkeypatch.setattr(teacher_pass, "teacher_outputs", teacher.outputs)
    return teacher


def test_a_teacher_that_runs_sees_the_stored_lr_images(make_data: Make, network: Doubling) -> None:
    data = make_data(teacher=network)
    triplets = data._train[0].triplets
    assert triplets.teacher is not None
    lr = triplets.lr.store.stored("0002").read()
    expected = lr.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(triplets.teacher.stored("0002").read(), expected)


def test_teacher_outputs_are_computed_once(make_data: Make, network: Doubling) -> None:
    make_data(teacher=network)
    calls = network.calls
    make_data(teacher=network)
    assert network.calls == calls == 7


@pytest.mark.parametrize("position", [0.0, 0.5, 0.99])
def test_a_flipped_byte_in_a_cached_teacher_output_is_found_and_repaired(
    make_data: Make, network: Doubling, tmp_path: Path, position: float
) -> None:
    data = make_data(teacher=network)
    good = stored(tmp_path / "cache")
    (output,) = (tmp_path / "cache" / "teacher").glob("*train_HR*/*/*/0002.png")
    flip_a_byte(output, position)
    assert data.check() == [output]
    data.prepare_data()
    assert stored(tmp_path / "cache") == good


def test_a_flipped_byte_in_the_manifest_of_a_teacher_pass_is_found_and_repaired(
    make_data: Make, network: Doubling, tmp_path: Path
) -> None:
    data = make_data(teacher=network)
    (manifest,) = (tmp_path / "cache" / "teacher").glob("*train_HR*/*/*/manifest.json")
    whole = manifest.read_bytes()
    flip_a_byte(manifest, 0.5)
    assert data.check() == [manifest]
    assert manifest.read_bytes() == whole
    assert data.check() == []


def test_the_space_that_preparation_needs_is_asked_for_first(
    make_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"0\.1 MB needed, 0\.0 MB free; .*data\.cache_dir"):
        make_data()
    assert not list((tmp_path / "cache").rglob("*.npy"))
