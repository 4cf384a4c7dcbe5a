"""One list of backends, which everything reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.benchmark.cases import shapes, ways
from kd_lightning.commands import enhance as enhance_cli
from kd_lightning.deploy import backends as package
from kd_lightning.deploy.backends import (
    MODULES,
    automatic,
    backends,
    cpu_has_bf16,
    from_network,
    open_weights,
)
from kd_lightning.errors import UserError
from kd_lightning.models.network import Network
from kd_lightning.models.pretrained import shipped
from kd_lightning.models.students import StudentCNN, StudentFast
from kd_lightning.models.swinir import SwinIR
from tests.own_students import OwnFast, PlainStudent

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NETWORKS: dict[str, Network] = {
    "cnn": StudentCNN(),
    "fast": StudentFast(),
    "own": OwnFast(),
    "plain": PlainStudent(),  # type: ignore[dict-item]
    "swinir": SwinIR(embed_dim=8, depths=[2], num_heads=[2], window_size=4),
}


def test_every_backend_is_listed_under_its_name() -> None:
    assert [backend.name for backend in backends()] == list(MODULES)
    suffixes = [suffix for backend in backends() for suffix in backend.exports]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_torch_runs_everything_and_alone_a_gpu(network: Network) -> None:
    names = {backend.name for backend in backends() if backend.supports(network)}
    assert "torch" in names
    assert {backend.name for backend in backends() if backend.precisions(CUDA)} == {"torch"}
    assert (names == {"torch"}) == (not getattr(network, "any_size", True))


@pytest.mark.parametrize(("ours", "own"), [("fast", "own")])
def test_users_own_class_gets_the_backends_of_ours(ours: str, own: str) -> None:
    found = [
        [(b.supports(NETWORKS[name]), b.suits(NETWORKS[name], "fp32")) for b in backends()]
        for name in (ours, own)
    ]
    assert found[0] == found[1]
    assert automatic(NETWORKS[ours], CPU) == automatic(NETWORKS[own], CPU)


@pytest.mark.parametrize("backend", MODULES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.inference_mode()
def test_users_own_class_computes_bitwise_what_ours_does(backend: str, precision: str) -> None:
    """By floats and by frames; the same weights, another class with the same declarations."""
    torch.manual_seed(0)
    ours, own = StudentFast(width=8, depth=4).eval(), OwnFast(width=8, depth=4).eval()
    own.load_state_dict(ours.state_dict())
    found = {item.name: item for item in backends()}[backend]
    if not found.installed() or precision not in found.precisions(CPU):
        pytest.skip(f"no {backend} in {precision} here")
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("a CPU without bf16")
    runners = [from_network(network, backend, CPU, precision) for network in (ours, own)]
    x = torch.rand(1, 3, 37, 52)
    frame = torch.randint(0, 256, (1, 19, 26, 3), dtype=torch.uint8)
    assert torch.equal(runners[0](x), runners[1](x))
    assert (runners[0].frame is None) == (runners[1].frame is None)
    if runners[0].frame and runners[1].frame:
        assert torch.equal(runners[0].frame(frame), runners[1].frame(frame))


def test_a_backend_is_one_file_and_one_line(
    monkeypatch: pytest.MonkeyPatch, fast_weights: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(MODULES, "fake", "tests.deploy.backends.fake")
    assert open_weights(fast_weights, "fake", "cpu", "fp32").name == "fake cpu fp32"
    with pytest.raises(UserError, match=r"choose auto, ncnn, openvino, torch, onnx, fake$"):
        open_weights(fast_weights, "fakes", "cpu")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in.png")
    files = [str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]
    assert enhance_cli.main([*files, "--weights", str(fast_weights), "--backend", "fake"]) == 0
    methods = {case.method for case in ways(shapes({"s": fast_weights}).values())}
    assert "s fake fp32" in methods


def test_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, fast_weights: Path
) -> None:
    monkeypatch.setitem(MODULES, "fake", "tests.deploy.backends.fake")
    monkeypatch.setattr("tests.deploy.backends.fake.Fake.module", "no_such_module")
    with pytest.raises(UserError, match=r"pip install 'kd_lightning\[fake\]'"):
        open_weights(fast_weights, "fake", "cpu")


def test_what_cannot_run_a_network_is_named_with_what_can() -> None:
    swinir = shipped("swinir_small*")["swinir_small"]
    with pytest.raises(UserError, match=r"cannot run swinir_small\.safetensors on cpu; torch can"):
        open_weights(swinir, "openvino", "cpu")


def test_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_wights'"):
        _ = package.open_wights
