"""Teachers: frozen, named by what they compute, refused with the remedy."""

import hashlib
import importlib.util
import sys
from functools import partial
from pathlib import Path

import hydra
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from kd_lightning.compat import import_basicsr
from kd_lightning.errors import UserError
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.checkpoint import load_swinir
from kd_lightning.models.foreign import load_basicsr_swinir, load_spandrel
from kd_lightning.models.students import StudentFast
from kd_lightning.models.swinir import SwinIR
from kd_lightning.models.teacher import FolderTeacher, NetworkTeacher, load_trained, self_ensemble
from tests.models.swinir_variants import TINY, official, randomise
from tests.runs import composed

CONF = Path(__file__).parents[2] / "conf" / "teacher"
CONFIGS = [path for path in sorted(CONF.glob("*.yaml")) if path.stem not in ("base", "none")]


def need(package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the extra {package} is not installed")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(randomise(SwinIR(**TINY)).state_dict(), path)
    return path


def teacher(weights=None, **settings):
    return NetworkTeacher(
        **{"name": "tiny", "load": load_swinir, "scale": 2, "weights": weights, **settings}
    )


def test_teacher_parameters_are_frozen(weights):
    network = teacher(weights).network()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def darker(path, scale, gain=1.0, expect=None):
    return load_swinir(path, scale)


def test_key_names_what_a_loader_of_ones_own_is_given(weights):
    loads = [
        load_swinir,
        partial(load_swinir, other=1),
        darker,
        partial(darker, gain=0.5),
        partial(darker, gain=0.25),
    ]
    keys = [teacher(weights, load=load).key for load in loads]
    assert len(set(keys)) == len(loads)
    manifests = [teacher(weights, load=load).settings() for load in loads]
    assert all(manifests.count(manifest) == 1 for manifest in manifests)
    again = partial(darker, expect={"embed_dim": 60}, gain=0.5)
    assert teacher(weights, load=again).key not in keys
    assert teacher(weights, load=partial(load_swinir, expect={"window_size": 8})).key == keys[0]
    assert len(keys[0].split("-")) == 3  # as ever, for outputs of the package's are kept by it


def artifact_key(path, network, arguments):
    save_artifact(path, network, arguments)
    return teacher(path, load=load_trained).key


def test_key_names_the_class_of_ones_own_in_an_artifact(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module, path = tmp_path / "own_teacher.py", tmp_path / "w.safetensors"
    code = "from tests.own_students import PlainStudent\nclass Own(PlainStudent):\n    pass\n"
    module.write_text(code)
    try:
        network = importlib.import_module("own_teacher").Own()
        before = artifact_key(path, network, {})
        settings = teacher(path, load=load_trained).settings()
        assert teacher(path, load=load_trained).key == before
        module.write_text(code + "    gain = 2\n")
        edited = teacher(path, load=load_trained)
        assert edited.key != before and edited.settings() != settings
    finally:
        sys.modules.pop("own_teacher", None)
    with pytest.raises(UserError, match="--import own_teacher"):
        teacher(path, load=load_trained).key  # noqa: B018


def test_key_of_an_artifact_of_this_package_is_its_weights(tmp_path):
    key = artifact_key(tmp_path / "w.safetensors", StudentFast(), {})
    assert len(key.split("-")) == 3


class Gain:
    def __init__(self, gain):
        self.gain = gain


class Darker(Gain):
    def __call__(self, path, scale):
        network = load_swinir(path, scale)
        self.gain += 1
        return network


def test_key_names_the_objects_that_a_configuration_makes_for_a_loader(weights):
    def key(load):
        config = {**configuration("swinir_m", weights=weights), "load": load}
        return hydra.utils.instantiate(config).key

    function = {"_target_": f"{__name__}.darker", "_partial_": True}
    gains = [{"_target_": f"{__name__}.Gain", "gain": gain} for gain in (1.0, 0.3)]
    loads = [{"_target_": f"{__name__}.Darker", "gain": gain} for gain in (1.0, 0.3)]
    loads += [{**function, "gain": gain} for gain in gains]
    loads += [{**function, "gain": [gain]} for gain in gains]
    keys = [key(load) for load in loads]
    assert len(set(keys)) == len(loads)
    assert keys == [key(load) for load in loads]


def test_key_stays_where_a_loader_changes_as_it_loads(weights):
    own = teacher(weights, load=Darker(1.0))
    before = own.key
    own.network()
    assert own.key == before


def test_key_names_teacher_weights_and_settings(weights):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    keys = [
        teacher(weights).key,
        teacher(weights, self_ensemble=True).key,
        teacher(weights, precision="bf16").key,
        teacher(weights, tile=64).key,
        teacher(weights, halo=8).key,
        teacher(weights, blend=4).key,
        teacher(weights, name="other").key,
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0].startswith(f"tiny-{digest[:12]}") and keys[1].endswith("-x8")
    save_file(randomise(SwinIR(**TINY), seed=1).state_dict(), weights)
    assert teacher(weights).key not in keys


def test_key_of_known_weights_needs_no_download():
    assert teacher(url="http://127.0.0.1:1/w.pth", sha256="ab" * 32).key.startswith("tiny-abab")


def test_missing_weights_name_the_remedy(tmp_path):
    with pytest.raises(UserError, match="needs weights"):
        teacher().key  # noqa: B018
    with pytest.raises(UserError, match=r"gone\.pth: no such file"):
        teacher(tmp_path / "gone.pth").network()
    with pytest.raises(UserError, match=r"teacher\.weights=<path>"):
        teacher(bundled="never_shipped.safetensors").network()


def test_file_put_into_the_cache_by_hand_is_verified(home, weights):
    placed = home / "teachers" / "w.safetensors"
    placed.parent.mkdir()
    placed.write_bytes(weights.read_bytes())
    digest = hashlib.sha256(placed.read_bytes()).hexdigest()
    url = "http://127.0.0.1:1/w.safetensors"
    assert teacher(url=url, sha256=digest).network().scale == 2
    with pytest.raises(UserError, match=f"has sha256 {digest}, expected 0000"):
        teacher(url=url, sha256="0" * 64).network()


@pytest.mark.parametrize("wrong", [{"precision": "int8"}, {"tile": 0}, {"halo": -1}])
def test_impossible_settings_name_their_key(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        teacher(**wrong)


def test_enhance_is_the_networks_output_in_8_bit(weights):
    lr = torch.randint(0, 256, (3, 20, 17), dtype=torch.uint8)
    tiny = teacher(weights)
    network = tiny.network()
    expected = (network(lr[None] / 255)[0].clamp(0, 1) * 255).round()
    assert torch.equal(tiny.enhance(network, lr), expected.byte())


def test_self_ensemble_of_an_equivariant_network_changes_nothing():
    x = torch.rand(1, 3, 6, 9)
    up = partial(F.interpolate, scale_factor=2, mode="nearest")
    assert torch.allclose(self_ensemble(up, x), up(x), atol=1e-6)


def test_self_ensemble_averages_all_eight_views():
    """A network that keeps one corner only sees each corner in two of the views."""

    def corner(x):
        out = torch.zeros_like(x)
        out[..., :1, :1] = x[..., :1, :1]
        return out

    x = torch.rand(1, 3, 4, 5)
    expected = torch.zeros_like(x)
    for row in (0, -1):
        for column in (0, -1):
            expected[..., row, column] = x[..., row, column] / 4
    assert torch.allclose(self_ensemble(corner, x), expected)


def test_tiled_output_has_no_visible_seams(weights):
    """On an untrained network; `benchmark.teacher tiles` measures a trained one."""
    whole, parts = teacher(weights), teacher(weights, tile=24, halo=16, blend=8)
    lr = torch.randint(0, 256, (3, 70, 52), dtype=torch.uint8)
    difference = parts.enhance(whole.network(), lr).int() - whole.enhance(whole.network(), lr).int()
    assert difference.abs().max() <= 2


def test_folder_teacher_finds_the_sibling_folder(tmp_path):
    for name in ("train_teacher", "DIV2K_train_teacher"):
        (tmp_path / name).mkdir()
    folder = FolderTeacher().folder
    assert folder(tmp_path / "train_HR") == tmp_path / "train_teacher"
    assert folder(tmp_path / "DIV2K_train_HR") == tmp_path / "DIV2K_train_teacher"
    with pytest.raises(UserError, match="valid_teacher: no such folder"):
        folder(tmp_path / "valid_HR")
    with pytest.raises(UserError, match=r"photos: .*_HR"):
        folder(tmp_path / "photos")


def configuration(name, **settings):
    overrides = [f"teacher={name}", *(f"teacher.{key}={value}" for key, value in settings.items())]
    return composed(Path("x"), *overrides).teacher


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_teacher_config_is_a_teacher(path):
    made = hydra.utils.instantiate(configuration(path.stem))
    assert isinstance(made, NetworkTeacher | FolderTeacher)
    if isinstance(made, NetworkTeacher):
        assert made.name == path.stem and made.weights is None and made.scale == 2


def test_hydra_hands_a_teacher_on_as_it_is(weights):
    """It would turn a dataclass into a config, without its properties."""
    made = hydra.utils.instantiate({"_target_": "builtins.dict"}, teacher=teacher(weights))
    assert isinstance(made["teacher"], NetworkTeacher) and made["teacher"].key


@pytest.mark.parametrize("name", ["swinir_light", "swinir_m", "basicsr_swinir", "spandrel"])
def test_own_file_takes_the_place_of_the_download(name, weights):
    assert hydra.utils.instantiate(configuration(name, weights=weights)).file == weights


def test_configured_variant_refuses_another(weights):
    config = configuration("swinir_light", weights=weights)
    with pytest.raises(UserError, match="embed_dim=12, expected embed_dim=60"):
        hydra.utils.instantiate(config).network()


@pytest.mark.parametrize("name", ["swinir_bundled", "call"])
def test_bundled_teacher_loads_where_it_is_shipped(name):
    made = hydra.utils.instantiate(configuration(name))
    assert made.network()(torch.rand(1, 3, 9, 10)).shape == (1, 3, 18, 20)


@pytest.mark.parametrize(
    "load, package", [(load_basicsr_swinir, "basicsr"), (load_spandrel, "spandrel")]
)
def test_other_packages_run_the_same_swinir(load, package, tmp_path):
    need(package)
    arguments = {**TINY, "depths": [2, 2], "num_heads": [2, 2]}
    own = randomise(SwinIR(**arguments))
    torch.save({"params": official(own, 8)}, tmp_path / "w.pth")
    foreign = teacher(tmp_path / "w.pth", load=load).network()
    x = torch.rand(1, 3, 19, 26)
    assert (foreign(x) - own(x)).abs().max() < 1e-5
    assert foreign.takes_lr and foreign.scale == 2


def test_basicsr_training_checkpoint_loads(tmp_path):
    need("basicsr")
    import_basicsr()
    from basicsr.archs.swinir_arch import SwinIR as Reference

    reference = randomise(Reference(img_size=48, **TINY))
    torch.save({"params": reference.state_dict()}, tmp_path / "net_g_latest.pth")
    x = torch.rand(1, 3, 16, 24)
    for load in (load_swinir, load_basicsr_swinir):
        network = teacher(tmp_path / "net_g_latest.pth", load=load).network()
        assert (network(x) - reference(x)).abs().max() < 1e-5


def test_spandrel_runs_an_architecture_that_is_not_swinir(tmp_path):
    need("spandrel"), need("basicsr")
    import_basicsr()
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    reference = SRVGGNetCompact(num_feat=16, num_conv=2, upscale=2).eval()
    torch.save({"params": reference.state_dict()}, tmp_path / "any.pth")
    network = teacher(tmp_path / "any.pth", load=load_spandrel).network()
    x = torch.rand(1, 3, 15, 22) * 4 - 1  # out of [0, 1]: the output must not be clamped
    assert (network(x) - reference(x)).abs().max() < 1e-5


def test_spandrel_refuses_what_it_does_not_know(tmp_path):
    need("spandrel")
    torch.save({"w": torch.zeros(1)}, tmp_path / "any.pth")
    with pytest.raises(UserError, match=r"any\.pth: spandrel knows no such architecture"):
        load_spandrel(tmp_path / "any.pth", 2)


@pytest.mark.parametrize(
    "load, package", [(load_basicsr_swinir, "basicsr"), (load_spandrel, "spandrel")]
)
def test_other_packages_refuse_another_scale(load, package, tmp_path):
    need(package)
    weights = tmp_path / "w.pth"
    torch.save(official(SwinIR(**TINY), 8), weights)
    with pytest.raises(UserError, match="scale 2, expected scale 4"):
        load(weights, 4)


@pytest.mark.parametrize(
    "load, package", [(load_basicsr_swinir, "basicsr"), (load_spandrel, "spandrel")]
)
def test_missing_extra_is_named(load, package, weights):
    if importlib.util.find_spec(package) is not None:
        pytest.skip("installed")
    with pytest.raises(UserError, match=rf"kd_lightning\[{package}\]"):
        load(weights, 2)
