"""Random degradations in the store and in batches: versions, teachers, kills, one's own."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.data import teacher_pass
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.data.degradations import version_rng
from kd_lightning.data.degradations.jpeg import Jpeg
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.data.store import ArrayStore
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.students import StudentFast
from kd_lightning.models.teacher import NetworkTeacher, load_trained
from tests.data.small_data import picture

Make = Callable[..., TripletDataModule]


def stored(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def jpeg(**changes: Any) -> Jpeg:
    return Jpeg(2, quality=(40, 90), **{"versions": 3, **changes})


def arrays(store: ArrayStore) -> dict[str, np.ndarray]:
    return {name: store.stored(name).read() for name in sorted(store.entries)}


def test_each_training_image_has_all_its_versions_and_others_the_first(make_data: Make) -> None:
    data = make_data(degradation=jpeg())
    train, val = data._train[0].triplets, data._val[0].triplets
    assert len(train.hr.entries) == 5
    assert sorted(train.lr.store.entries) == [f"000{n}@{v}" for n in range(5) for v in range(3)]
    assert sorted(val.lr.store.entries) == ["0000@0", "0001@0"]
    hr = train.hr.stored("0002").read()
    for version in range(3):
        expected = jpeg()(hr, version_rng(0, "0002", version))
        np.testing.assert_array_equal(train.lr.store.stored(f"0002@{version}").read(), expected)


def test_versions_do_not_depend_on_threads_or_on_what_is_made_beside_them(
    make_data: Make, tmp_path: Path
) -> None:
    def made(name: str, **changes: Any) -> dict[str, np.ndarray]:
        data = make_data(cache_dir=str(tmp_path / name), **changes)
        return arrays(data._train[0].triplets.lr.store)

    one = made("one", degradation=jpeg(), prepare_workers=1)
    four = made("four", degradation=jpeg(), prepare_workers=4)
    few = made("few", degradation=jpeg(versions=2), subset=2)
    assert one.keys() == four.keys() > few.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(four[name], array)
        if name in few:
            np.testing.assert_array_equal(few[name], array)


def test_more_versions_are_added_to_those_that_are_there(make_data: Make) -> None:
    before = make_data(degradation=jpeg(versions=2))._train[0].triplets.lr.store
    times = {name: before.path(name).stat().st_mtime_ns for name in before.entries}
    after = make_data(degradation=jpeg(versions=4))._train[0].triplets.lr.store
    assert after.folder == before.folder
    assert len(after.entries) == 5 * 4
    assert {name: after.path(name).stat().st_mtime_ns for name in times} == times


def test_seeds_and_settings_never_share_a_folder(make_data: Make) -> None:
    kinds = [jpeg(), jpeg(seed=1), jpeg(full_chroma=0.5), None]
    folders = {make_data(degradation=k)._train[0].triplets.lr.store.folder for k in kinds}
    assert len(folders) == 4


def test_a_batch_draws_images_and_versions(make_data: Make) -> None:
    data = make_data(degradation=jpeg(), crop_size=40, samples_per_epoch=400, augment=False)
    small = {n: a for n, a in arrays(data._train[0].triplets.lr.store).items() if "0003" in n}
    places = [(y, x) for y in range(5) for x in range(5)]
    known = {a[y : y + 20, x : x + 20].tobytes(): n for n, a in small.items() for y, x in places}
    seen = set()
    for batch in data.train_dataloader():
        triplets = data.on_after_batch_transfer(batch, 0)
        assert set(triplets) == {"lr", "bicubic", "hr", "teacher"}
        for lr in (triplets["lr"] * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy():
            seen.add(known.get(lr.tobytes()))
    assert seen == {None, "0003@0", "0003@1", "0003@2"}  # None: of another image


@pytest.mark.parametrize("device_cache", [False, True])
def test_every_version_comes_with_the_hr_and_teacher_image_of_its_stem(
    make_data: Make, device_cache: bool
) -> None:
    data = make_data(degradation=jpeg(), device_cache=device_cache, crop_size=32)
    for batch in data.train_dataloader():
        triplets = data.on_after_batch_transfer(batch, 0)
        clean = torch.nn.functional.interpolate(
            triplets["hr"], scale_factor=0.5, mode="bicubic", antialias=True
        )
        inside = np.s_[..., 3:-3, 3:-3]  # the crop's border is not the image's
        assert (triplets["lr"] - clean)[inside].abs().mean() < 0.12
        # picture(seed) and picture(seed + 100) are unrelated images, the same for all versions.
        assert (triplets["teacher"] - triplets["hr"]).abs().mean() > 0.1


def test_versions_share_the_arrays_of_their_image(make_data: Make) -> None:
    data = make_data(degradation=jpeg(), device_cache=True)
    batch = next(iter(data.train_dataloader()))
    data.on_after_batch_transfer(batch, 0)
    assert data._on_device is not None
    pixels = {name: len(tensor) for name, tensor in data._on_device._pixels.items()}
    assert pixels["hr"] == pixels["teacher"]
    assert pixels["lr"] * 4 == pixels["hr"] * 3  # three versions of a quarter of the pixels


def test_batches_are_the_same_for_any_number_of_workers(make_data: Make) -> None:
    def epoch(workers: int) -> list[torch.Tensor]:
        data = make_data(degradation=jpeg(), num_workers=workers)
        return [data.on_after_batch_transfer(b, 0)["lr"] for b in data.train_dataloader()]

    for one, two in zip(epoch(0), epoch(2), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


class Doubling:
    """Stands in for a network: its output is the LR image with every pixel doubled."""

    key = "doubling-0123"

    def __init__(self, reads: str) -> None:
        self.input = reads

    def settings(self) -> dict[str, str]:
        return {"teacher": "doubling"}

    def outputs(self, _: object, lr_images: dict[str, Any], folder: Path) -> dict[str, Path]:
        from kd_lightning.imageio.strict import write_png

        files = {stem: folder / self.key / f"{stem}.png" for stem in lr_images}
        for stem, path in files.items():
            write_png(path, lr_images[stem].read().repeat(2, axis=0).repeat(2, axis=1))
        teacher_pass.repair_manifest(folder / self.key, self, folder.name)  # type: ignore[arg-type]
        return files


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Doubling]:
    def make(reads: str) -> Doubling:
        teacher = Doubling(reads)
        monkeypatch.setattr(teacher_pass, "teacher_outputs", teacher.outputs)
        return teacher

    return make


def test_a_clean_teacher_reads_the_bicubic_image_once_for_all_versions(
    make_data: Make, doubling: Callable[[str], Doubling]
) -> None:
    data = make_data(degradation=jpeg(), teacher=doubling("clean"))
    triplets = data._train[0].triplets
    assert triplets.teacher is not None
    assert sorted(triplets.teacher.entries) == [f"000{n}" for n in range(5)]
    clean = shrink(triplets.hr.stored("0002").read(), 2)
    expected = clean.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(triplets.teacher.stored("0002").read(), expected)
    bicubic = make_data(teacher=doubling("clean"))._train[0].triplets
    assert bicubic.teacher is not None
    assert bicubic.teacher.folder == triplets.teacher.folder  # computed once for both


def test_a_degraded_teacher_has_an_output_for_each_version(
    make_data: Make, doubling: Callable[[str], Doubling]
) -> None:
    data = make_data(degradation=jpeg(), teacher=doubling("degraded"))
    triplets = data._train[0].triplets
    assert triplets.teacher is not None
    assert triplets.teacher.entries.keys() == triplets.lr.store.entries.keys()
    for name in ("0002@0", "0002@2"):
        lr = triplets.lr.store.stored(name).read()
        expected = lr.repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(triplets.teacher.stored(name).read(), expected)


@pytest.mark.parametrize("reads", ["clean", "degraded"])
def test_a_damaged_or_missing_version_is_found_and_made_again(
    make_data: Make, doubling: Callable[[str], Doubling], tmp_path: Path, reads: str
) -> None:
    data = make_data(degradation=jpeg(), teacher=doubling(reads))
    good = stored(tmp_path / "cache")
    assert data.check() == []
    for store in data._train[0].triplets.stores:
        name = sorted(store.entries)[1]
        content = bytearray(store.path(name).read_bytes())
        content[-5] ^= 0x10
        store.path(name).write_bytes(content)
        assert store.path(name) in data.check()
        data.prepare_data()
        assert stored(tmp_path / "cache") == good


@pytest.mark.parametrize("scale", [1, 2])
def test_a_trained_network_teaches_from_its_artifact(
    make_data: Make, tmp_path: Path, scale: int
) -> None:
    student = StudentFast(scale=scale, width=8, depth=3)
    arguments = {"scale": scale, "width": 8, "depth": 3}
    path = save_artifact(tmp_path / "student.safetensors", student, arguments)
    teacher = NetworkTeacher("call", load_trained, scale, weights=path, input="degraded")
    data = make_data(degradation=Jpeg(scale, versions=2), scale=scale, teacher=teacher, subset=2)
    triplets = data._train[0].triplets
    assert triplets.teacher is not None
    assert sorted(triplets.teacher.entries) == ["0000@0", "0000@1", "0001@0", "0001@1"]
    network = load_trained(path, scale)
    lr = torch.from_numpy(triplets.lr.store.stored("0001@1").read()).permute(2, 0, 1)
    with torch.no_grad():
        expected = network(lr[None].float() / 255).clamp(0, 1)[0].permute(1, 2, 0) * 255
    output = torch.from_numpy(triplets.teacher.stored("0001@1").read())
    assert (output.float() - expected).abs().max() <= 0.51
    with pytest.raises(UserError, match=rf"network of scale {scale}, but scale=3"):
        load_trained(path, 3)


OWN = '''
import numpy as np

class Posterize:
    """A user's degradation: a key and a call."""
    def __init__(self, scale, levels):
        self.scale, self.levels = scale, levels
        self.versions = 2
    @property
    def key(self):
        return f"posterize-{self.levels}"
    def __call__(self, hr, rng):
        step = 256 // self.levels
        lr = hr[:: self.scale, :: self.scale] + int(rng.integers(step))
        return (lr // step * step).astype(np.uint8)
'''


def test_a_degradation_of_a_foreign_module_is_one_class_and_one_yaml(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.utils import instantiate

    from tests.runs import composed

    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "my_degradations.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "foreign")
    own = tmp_path / "conf" / "degradation"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(
        "_target_: my_degradations.Posterize\nscale: ${scale}\nlevels: 4\n"
    )
    cfg = composed(
        tmp_path,
        f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        "degradation=mine",
        "data=photos",
        f"data.root={data_root}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "teacher=folder",
        "data.crop_size=32",
    )
    data = instantiate(cfg.data, teacher=instantiate(cfg.teacher))
    data.prepare_data()
    data.setup()
    store = data._train[0].triplets.lr.store
    assert store.folder.name == "lr-x2-posterize-4-seed0"
    assert len(store.entries) == 5 * 2
    assert len(np.unique(store.stored("0001@1").read())) <= 5


MISSING = object()


class Wrong:
    """A degradation whose images are none, or of another type or size than the store's."""

    key = "wrong"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, hr: np.ndarray, rng: np.random.Generator) -> Any:
        makes: dict[str, Callable[[], Any]] = {
            "size": lambda: hr[::4, ::4],
            "type": lambda: shrink(hr, 2).astype(np.float32) / 255,
            "nothing": lambda: None,
            "PIL": lambda: Image.fromarray(shrink(hr, 2)),
            "raise": lambda: 1 / 0,
        }
        return makes[self.kind]()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("size", "made uint8 "),
        ("type", "made float32 "),
        ("nothing", "made a NoneType"),
        ("PIL", "made a PIL.Image.Image"),
    ],
)
def test_a_degradation_that_makes_something_else_is_one_line(
    make_data: Make, kind: str, said: str
) -> None:
    expected = f"degradation: {__name__}.Wrong {said}.* of version 0 of 000.; return .*uint8 "
    with pytest.raises(UserError, match=expected):
        make_data(degradation=Wrong(kind))


def test_what_a_degradation_raises_ends_with_its_image_and_version(make_data: Make) -> None:
    with pytest.raises(ZeroDivisionError) as error:
        make_data(degradation=Wrong("raise"))
    (note,) = error.value.__notes__
    assert re.fullmatch(rf"degradation: {__name__}.Wrong raised this for version 0 of 000.", note)


def test_what_every_degradation_has_is_asked_for_by_name(make_data: Make) -> None:
    def own(**attributes: object) -> object:
        has = {"key": "own", "__call__": lambda self, hr, rng: hr, **attributes}
        given = {name: value for name, value in has.items() if value is not MISSING}
        return type("Own", (), given)()

    def broken(_: object) -> str:
        raise AttributeError("no attribute 'levels'")

    for degradation, said in (
        (own(key=MISSING), r"has no key \(.*'key'\); give it one"),
        (own(key=property(broken)), r"has no key \(no attribute 'levels'\)"),
        (own(key=None), "has the key None: make it a text"),
        (own(key="a/b"), "has the key 'a/b': make it a text"),
        (own(__call__=MISSING), r"cannot be called: give it __call__\(hr, rng\)"),
        (own(versions=0), "has versions=0: give a whole number of at least 1"),
        (own(seed="x"), "has seed=x: give a whole number of at least 0"),
    ):
        with pytest.raises(UserError, match=rf"^degradation: {__name__}.Own {said}"):
            make_data(degradation=degradation)


def test_the_old_key_is_answered_by_the_new_one(make_data: Make) -> None:
    with pytest.raises(UserError, match=r"data\.degradation=matlab: .*give degradation=matlab"):
        make_data(degradation="matlab")


def test_official_files_that_are_missing_are_named(make_data: Make) -> None:
    from kd_lightning.data.degradations.official import Official

    with pytest.raises(UserError, match=r"train_HR: degradation=official needs .*X2 beside"):
        make_data(degradation=Official(2))


KILLED_RUN = """
import sys
from pathlib import Path
from kd_lightning.data.degradations.h264 import H264
from kd_lightning.data.prepare import prepare_triplets
from kd_lightning.data.triplets import Recipe, open_triplets

hr, cache = Path(sys.argv[1]), Path(sys.argv[2])
recipe = Recipe(2, H264(2, versions=4), all_versions=True)
triplets = open_triplets(hr, recipe, None, cache, teacher_required=False)
prepare_triplets(triplets, list(triplets.files), cache, 2)
"""


@pytest.mark.slow
def test_kills_leave_a_random_store_as_if_undisturbed(tmp_path: Path) -> None:
    pytest.importorskip("av")

    hr = tmp_path / "HR"
    hr.mkdir()
    for number in range(12):
        Image.fromarray(picture(120, 120, number)).save(hr / f"{number:02}.png")

    def run(cache: Path, stop_at: int | None) -> bool:
        """One preparation, killed when it has written so many LR arrays; whether it was."""
        command = [sys.executable, "-c", KILLED_RUN, str(hr), str(cache)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if stop_at is not None and len(list(cache.rglob("*@*.npy"))) >= stop_at:
                    process.kill()
                time.sleep(0.01)
        return process.returncode == -signal.SIGKILL

    assert not run(tmp_path / "undisturbed", None)
    for stop_at in (3, 17, 31):
        assert run(tmp_path / "killed", stop_at)
    assert not run(tmp_path / "killed", None)
    assert stored(tmp_path / "killed") == stored(tmp_path / "undisturbed")
    (manifest,) = (tmp_path / "killed").rglob("lr-*/manifest.json")
    assert len(json.loads(manifest.read_text())["entries"]) == 12 * 4
