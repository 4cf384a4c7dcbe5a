"""Weights files: what is read, what is told from the tensors alone, what is refused and how."""

import importlib.util
import pickle

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save_file

from kd_lightning.compat import import_basicsr
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.checkpoint import load_swinir, read_state, swinir_arguments
from kd_lightning.models.students import StudentCNN
from kd_lightning.models.swinir import SwinIR
from tests.models.swinir_variants import LIGHT, TINY, VARIANTS, official, randomise


@pytest.mark.parametrize("variant", [*VARIANTS, "tiny", "grey", "x3"])
def test_state_dict_tells_its_variant(variant):
    others = {
        "tiny": TINY,
        "grey": {**TINY, "in_chans": 1, "upscale": 1, "upsampler": ""},
        "x3": {**TINY, "upscale": 3, "upsampler": "pixelshuffle"},
    }
    arguments = (VARIANTS | others)[variant]
    with torch.device("meta"):
        state = SwinIR(**arguments).state_dict()
    found = swinir_arguments(state, "weights.pth")
    assert {key: found[key] for key in arguments} == arguments


@pytest.mark.parametrize("key", ["params", "params_ema", None])
@pytest.mark.parametrize("buffers", [True, False])
def test_official_pth_loads_strictly(tmp_path, key, buffers):
    network = randomise(SwinIR(**TINY))
    state = official(network, 8) if buffers else dict(network.state_dict())
    torch.save({key: state} if key else state, tmp_path / "w.pth")
    loaded = load_swinir(tmp_path / "w.pth", 2)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(x), network(x))


def test_averaged_weights_are_preferred(tmp_path):
    torch.save(
        {"params": {"w": torch.zeros(1)}, "params_ema": {"w": torch.ones(1)}}, tmp_path / "w.pth"
    )
    assert read_state(tmp_path / "w.pth")["w"] == 1


def test_basicsr_training_checkpoint_is_a_students_weights(tmp_path):
    """Written by BasicSR itself, as its training does: plain and averaged weights in one file."""
    if importlib.util.find_spec("basicsr") is None:
        pytest.skip("the extra basicsr is not installed")
    import_basicsr()
    from basicsr.archs.swinir_arch import SwinIR as Reference
    from basicsr.models.base_model import BaseModel

    plain, averaged = (randomise(Reference(img_size=48, **TINY), seed=seed) for seed in (0, 1))
    training = BaseModel({"num_gpu": 0, "is_train": True, "path": {"models": str(tmp_path)}})
    training.save_network([plain, averaged], "net_g", -1, param_key=["params", "params_ema"])
    student = SwinIR(**TINY)
    student.load_state_dict(read_state(tmp_path / "net_g_latest.pth"), strict=True)
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        assert (student.eval()(x) - averaged(x)).abs().max() < 1e-5


def test_checkpoint_of_our_own_training_holds_a_students_weights(tmp_path):
    """As Lightning writes it: the module's tensors by attribute, beside the optimizer and more."""
    module = LightningModule()
    module.student = randomise(StudentCNN())
    module.loss = torch.nn.Conv2d(1, 1, 1)  # a loss may have tensors too
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    found = read_state(tmp_path / "last.ckpt")
    expected = module.student.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_artifact_is_a_students_weights(tmp_path):
    network = randomise(StudentCNN(residual=True))
    save_artifact(tmp_path / "s.safetensors", network, {"residual": True})
    StudentCNN(residual=True).load_state_dict(read_state(tmp_path / "s.safetensors"), strict=True)


def test_safetensors_loads(tmp_path):
    network = randomise(SwinIR(**TINY))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    loaded = load_swinir(tmp_path / "w.safetensors", 2)
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"params": Bomb()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="not readable as plain tensors"):
        read_state(tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not readable as plain tensors"):
        read_state(tmp_path / "raw.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04half a zip"])
def test_broken_file_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        read_state(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pth: no such"):
        read_state(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [[1, 2], {}, {"params": {"epoch": 3}}])
def test_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="state dict"):
        read_state(tmp_path / "w.pth")


def test_other_architecture_is_refused_with_what_was_found(tmp_path):
    save_file(torch.nn.Linear(3, 3).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"found bias, weight, .* expected conv_first\.weight"):
        load_swinir(tmp_path / "w.safetensors", 2)


def test_other_scale_is_refused_with_found_and_expected(tmp_path):
    save_file(SwinIR(**TINY).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"upscale=2, expected upscale=4"):
        load_swinir(tmp_path / "w.safetensors", 4)


def test_other_variant_is_refused_with_found_and_expected(tmp_path):
    save_file(SwinIR(**TINY).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"embed_dim=12, expected embed_dim=60"):
        load_swinir(tmp_path / "w.safetensors", 2, expect={"embed_dim": 60, "depths": (2, 3)})


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_nearly_right_weights_are_refused(tmp_path, change):
    state = SwinIR(**TINY).state_dict()
    if change == "missing":
        del state["norm.weight"]
    elif change == "extra":
        state["absolute_pos_embed"] = torch.zeros(1)
    else:
        state["norm.weight"] = torch.zeros(5)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors: almost a SwinIR") as caught:
        load_swinir(tmp_path / "w.safetensors", 2)
    assert "\n" not in str(caught.value)


def test_light_variant_is_recognised_as_the_configured_one(tmp_path):
    save_file(SwinIR(**LIGHT).state_dict(), tmp_path / "w.safetensors")
    expect = {"embed_dim": 60, "upsampler": "pixelshuffledirect"}
    assert load_swinir(tmp_path / "w.safetensors", 2, expect).scale == 2
