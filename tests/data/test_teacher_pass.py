"""The teacher pass: computed once, resumable after a kill, never mixed, shared by processes."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import kd_lightning
from kd_lightning.data.teacher_pass import TeacherPass, repair_manifest, teacher_outputs
from kd_lightning.errors import UserError
from kd_lightning.imageio.strict import read_rgb
from kd_lightning.models.checkpoint import load_swinir
from kd_lightning.models.swinir import SwinIR
from kd_lightning.models.teacher import NetworkTeacher

ROOT = Path(__file__).parents[2]
TINY = {"embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 4}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    save_file(SwinIR(**TINY).state_dict(), path)
    return path


@pytest.fixture
def lr_images(tmp_path):
    """Five images, one of them an array and one in a folder of its own."""
    generator = np.random.default_rng(0)
    images = {}
    for index, stem in enumerate(["0001", "0002", "0003", "city/0004", "0005"]):
        pixels = generator.integers(0, 256, (12 + index, 17, 3), dtype=np.uint8)
        path = tmp_path / "lr" / stem
        path.parent.mkdir(parents=True, exist_ok=True)
        if stem == "0005":
            np.save(path.with_suffix(".npy"), pixels)
            images[stem] = path.with_suffix(".npy")
        else:
            Image.fromarray(pixels).save(path.with_suffix(".png"))
            images[stem] = path.with_suffix(".png")
    return images


@pytest.fixture
def enhanced(monkeypatch):
    """The shapes of the images that a network has been run on."""
    shapes = []
    enhance = NetworkTeacher.enhance

    def recording(self, network, lr):
        shapes.append(tuple(lr.shape))
        return enhance(self, network, lr)

    monkeypatch.setattr(NetworkTeacher, "enhance", recording)
    return shapes


def teacher(weights, **settings):
    return NetworkTeacher(name="tiny", load=load_swinir, scale=2, weights=weights, **settings)


def test_outputs_are_the_teachers_in_8_bit(weights, lr_images, tmp_path):
    outputs = teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    assert list(outputs) == list(lr_images)
    network = teacher(weights).network()
    for stem, path in lr_images.items():
        pixels = np.load(path) if path.suffix == ".npy" else read_rgb(path)
        lr = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        expected = (network(lr).clamp(0, 1) * 255).round()[0].permute(1, 2, 0)
        assert np.array_equal(read_rgb(outputs[stem]), expected.numpy())


def test_cached_outputs_are_reused(weights, lr_images, tmp_path, enhanced):
    first = teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    assert len(enhanced) == 5
    assert teacher_outputs(teacher(weights), lr_images, tmp_path / "cache") == first
    assert len(enhanced) == 5


def test_cache_is_used_without_the_weights_where_their_hash_is_known(weights, lr_images, tmp_path):
    done = teacher(weights)
    outputs = teacher_outputs(done, lr_images, tmp_path / "cache")
    gone = teacher(None, url="http://127.0.0.1:1/w.pth", sha256=done.digest)
    assert teacher_outputs(gone, lr_images, tmp_path / "cache") == outputs


@pytest.mark.parametrize("damage", ["truncated", "empty", "deleted", "no_hash"])
def test_output_that_is_not_whole_is_computed_again(damage, weights, lr_images, tmp_path, enhanced):
    output = teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")["0002"]
    whole = output.read_bytes()
    if damage == "no_hash":
        Image.open(output).save(output)
    elif damage == "deleted":
        output.unlink()
    else:
        output.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    enhanced.clear()
    teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    assert output.read_bytes() == whole
    assert enhanced == [(3, 13, 17)]


def test_changed_lr_image_is_computed_again(weights, lr_images, tmp_path, enhanced):
    teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(lr_images["0001"])
    enhanced.clear()
    outputs = teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    assert enhanced == [(3, 9, 9)]
    assert read_rgb(outputs["0001"]).shape == (18, 18, 3)


@pytest.mark.parametrize("change", [{"self_ensemble": True}, {"tile": 8, "blend": 2}])
def test_changed_setting_makes_a_new_cache(change, weights, lr_images, tmp_path, enhanced):
    old = teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    before = {path: path.read_bytes() for path in old.values()}
    new = teacher_outputs(teacher(weights, **change), lr_images, tmp_path / "cache")
    assert len(enhanced) == 10
    assert not set(old.values()) & set(new.values())
    assert all(path.read_bytes() == content for path, content in before.items())


def test_manifest_records_what_the_outputs_depend_on(weights, lr_images, tmp_path):
    tiny = teacher(weights, self_ensemble=True)
    teacher_outputs(tiny, lr_images, tmp_path / "lr-x2-bicubic")
    manifest = json.loads((tmp_path / "lr-x2-bicubic" / tiny.key / "manifest.json").read_text())
    assert manifest["weights_sha256"] == tiny.digest
    assert manifest["degradation"] == "lr-x2-bicubic"
    assert manifest["self_ensemble"] is True
    assert (manifest["tile"], manifest["halo"], manifest["blend"]) == (256, 24, 8)
    assert manifest["kd_lightning"] == kd_lightning.__version__


@pytest.mark.parametrize("damage", ["flipped", "deleted", "setting"])
def test_damaged_manifest_is_found_and_written_again(damage, weights, lr_images, tmp_path):
    tiny = teacher(weights)
    teacher_outputs(tiny, lr_images, tmp_path / "cache")
    cache = tmp_path / "cache" / tiny.key
    path = cache / "manifest.json"
    whole = path.read_text()
    assert repair_manifest(cache, tiny, "cache") is None
    if damage == "deleted":
        path.unlink()
    else:
        old, new = ("0.1", "0.7") if damage == "flipped" else ('"scale": 2', '"scale": 3')
        assert old in whole
        path.write_text(whole.replace(old, new, 1))
    assert repair_manifest(cache, tiny, "cache") == path
    assert path.read_text() == whole
    assert repair_manifest(cache, tiny, "cache") is None


def test_abandoned_temporary_files_go_and_fresh_ones_stay(weights, lr_images, tmp_path):
    cache = tmp_path / "cache" / teacher(weights).key
    cache.mkdir(parents=True)
    for name, age in ((".tmp-old", 7200), (".tmp-young", 1)):
        (cache / name).touch()
        os.utime(cache / name, (time.time() - age,) * 2)
    teacher_outputs(teacher(weights), lr_images, tmp_path / "cache")
    assert [path.name for path in cache.glob(".tmp-*")] == [".tmp-young"]


def test_unusable_lr_image_is_named(weights, tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=r"grey\.npy"):
        teacher_outputs(teacher(weights), {"grey": tmp_path / "grey.npy"}, tmp_path / "cache")
    with pytest.raises(UserError, match=r"gone\.png"):
        teacher_outputs(teacher(weights), {"gone": tmp_path / "gone.png"}, tmp_path / "cache")


def broken(path, scale, factor, smaller=0):
    class Broken(torch.nn.Module):
        def forward(self, x):
            x = x[..., smaller:].repeat_interleave(2, -1).repeat_interleave(2, -2)
            return x * (factor if x.mean() > 0.4 else 1)  # of the bright images alone

    return Broken()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_output_that_is_no_number_is_named_and_not_cached(factor, weights, lr_images, tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(lr_images["0001"])
    own = NetworkTeacher("own", partial(broken, factor=factor), 2, weights)
    with pytest.raises(UserError, match=r"0002\.png: teacher=own gives NaN or infinite values"):
        teacher_outputs(own, lr_images, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").rglob("*.png")] == ["0001.png"]


def test_output_of_another_size_is_named(weights, lr_images, tmp_path):
    own = NetworkTeacher("own", partial(broken, factor=1, smaller=1), 2, weights)
    expected = r"0001\.png: teacher=own makes \(1, 3, 24, 32\) of .*, expected \(1, 3, 24, 34\)"
    with pytest.raises(UserError, match=expected):
        teacher_outputs(own, lr_images, tmp_path / "cache")


def test_pass_holds_a_frozen_teacher(weights):
    module = TeacherPass(teacher(weights), pending=1)
    assert not any(parameter.requires_grad for parameter in module.parameters())


PROGRAM = """
import os, sys, time
from pathlib import Path
from kd_lightning.data.teacher_pass import teacher_outputs
from kd_lightning.models.teacher import NetworkTeacher
from kd_lightning.models.checkpoint import load_swinir

weights, lr, cache, pause = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
enhance = NetworkTeacher.enhance

def slow(self, network, image):
    time.sleep(float(pause))
    print("image by rank", os.environ.get("RANK"), flush=True)
    return enhance(self, network, image)

NetworkTeacher.enhance = slow
teacher = NetworkTeacher(name="tiny", load=load_swinir, scale=2, weights=weights)
lr_images = {path.stem: path for path in sorted(lr.iterdir()) if path.is_file()}
alone = dict(list(lr_images.items())[:1])  # fewer images than processes
for folder, images in (cache, lr_images), (cache.with_name("second"), alone):
    outputs = teacher_outputs(teacher, images, folder)
    assert all(path.is_file() for path in outputs.values())
"""


def run(tmp_path, weights, pause, launcher=()):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = [weights, tmp_path / "lr", tmp_path / "cache", pause]
    return subprocess.Popen(
        [sys.executable, *launcher, program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_killed_pass_continues_without_redoing_or_trusting_half_files(
    weights, lr_images, tmp_path, enhanced
):
    flat = {stem: path for stem, path in lr_images.items() if "/" not in stem}
    cache = tmp_path / "cache" / teacher(weights).key
    process = run(tmp_path, weights, pause=0.5)
    deadline = time.time() + 60
    while len(list(cache.glob("*.png"))) < 2 and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.read_bytes() for path in cache.glob("*.png")}
    assert 2 <= len(finished) < 4
    outputs = teacher_outputs(teacher(weights), flat, tmp_path / "cache")
    assert len(enhanced) == 4 - len(finished)
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert {read_rgb(path).shape[1] for path in outputs.values()} == {34}


@pytest.mark.slow
def test_two_processes_share_the_work(weights, lr_images, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    # The pause leaves something to do for a process that starts late on a busy machine.
    process = run(tmp_path, weights, pause=1, launcher=torchrun)
    log, _ = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert min(log.count("image by rank 0"), log.count("image by rank 1")) >= 2
    assert log.count("image by rank") in (5, 6)  # the lonely image may be computed by both
    flat = {stem: path for stem, path in lr_images.items() if "/" not in stem}
    single = teacher_outputs(teacher(weights), flat, tmp_path / "single")
    for folder, stems in ("cache", list(flat)), ("second", list(flat)[:1]):
        for stem in stems:
            twin = tmp_path / folder / teacher(weights).key / f"{stem}.png"
            assert twin.read_bytes() == single[stem].read_bytes()
