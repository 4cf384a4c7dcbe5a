"""What an artifact promises to those who read it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.artifact import (
    DIGEST,
    FORMAT,
    build,
    check_any_size,
    check_saveable,
    load_artifact,
    save_artifact,
    tensors_digest,
)
from kd_lightning.models.checkpoint import read_state
from kd_lightning.models.rep import RepConv
from kd_lightning.models.students import StudentCNN, StudentFast
from tests import own_students


class Turned(own_students.PlainStudent):
    """With complex weights."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.tensor(0.6 + 0.8j))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.ifft2(torch.fft.fft2(super().forward(x)) * self.phase).real


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (StudentCNN(scale=3, residual=True), {"scale": 3, "residual": True}),
        (StudentCNN(process="half"), {"process": "half"}),
        (StudentFast(width=8, depth=3), {"width": 8, "depth": 3}),
        (own_students.PlainStudent(width=5), {"width": 5}),
        (own_students.StudentCNN(residual=True), {"residual": True}),
        (Turned(), {}),
    ],
)
def test_loaded_network_computes_what_the_saved_one_did(
    tmp_path: Path, network: nn.Module, arguments: dict
) -> None:
    path = save_artifact(tmp_path / "a" / "s.safetensors", network, arguments, {"psnr_y": 36.5})
    loaded, metadata = load_artifact(path)
    assert type(loaded) is type(network)
    x = torch.rand(1, 3, 13, 17)
    assert torch.equal(loaded(x), network(x))
    assert metadata["psnr_y"] == 36.5
    assert metadata["scale"] == network.scale
    assert metadata["takes_lr"] is network.takes_lr
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_header_is_plain_strings_of_json(tmp_path: Path) -> None:
    path = save_artifact(tmp_path / "s.safetensors", StudentCNN(), {}, {"note": "é", "n": [1]})
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert json.loads(header["architecture"]) == "kd_lightning.models.students.StudentCNN"
    assert json.loads(header["n"]) == [1]


def test_nothing_is_left_beside_the_artifact(tmp_path: Path) -> None:
    save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_wrong_arguments_are_refused_before_writing(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(UserError, match="tensors do not fit StudentFast"):
        save_artifact(path, StudentFast(width=8), {"width": 16})
    with pytest.raises(UserError, match="arguments do not fit"):
        save_artifact(path, StudentFast(width=8), {"breadth": 8})
    assert not path.exists()


def test_reparameterized_student_is_written_plain(tmp_path: Path) -> None:
    arguments = {"width": 8, "depth": 3, "rep": True}
    network = StudentFast(**arguments)
    loaded, metadata = load_artifact(save_artifact(tmp_path / "s.safetensors", network, arguments))
    assert metadata["arguments"] == arguments
    assert loaded.state_dict().keys() == StudentFast(width=8, depth=3).state_dict().keys()
    x = torch.rand(1, 3, 13, 17)
    assert (loaded(x) - network(x)).abs().max() <= 1e-5


def test_file_with_a_bare_class_name_is_ours(tmp_path: Path) -> None:
    """As every version before qualified names wrote it."""
    network = StudentCNN()
    header = {"format": FORMAT, "architecture": "StudentCNN", "arguments": {}}
    strings = {key: json.dumps(value) for key, value in header.items()}
    save_file(dict(network.state_dict()), tmp_path / "old.safetensors", strings)
    loaded, _ = load_artifact(tmp_path / "old.safetensors")
    assert type(loaded) is StudentCNN
    x = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(x), network(x))


class Stateless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def forgetful() -> nn.Module:
    network = own_students.Forgetful()
    network.strength = 0.5
    return network


def shadowing() -> nn.Module:
    """Says that it is ours."""
    impostor = type("StudentCNN", (own_students.StudentCNN,), {})
    impostor.__module__ = "kd_lightning.models.students"
    return impostor()


class Larger(own_students.PlainStudent):
    """Enlarges, and does not say so."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).repeat_interleave(2, -1)


class Broken(own_students.PlainStudent):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.flatten(1))


class Tied(own_students.PlainStudent):
    """Uses a layer twice under two names, and a tensor as two buffers."""

    def __init__(self, rep: bool = False) -> None:
        super().__init__()
        self.middle = RepConv(3, 3) if rep else nn.Conv2d(3, 3, 3, padding=1)
        self.again = self.middle
        self.register_buffer("a", torch.full((3, 1, 1), 0.5))
        self.register_buffer("b", self.a)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.again(self.middle(x * self.a) + self.b))


class Stateful(own_students.PlainStudent):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 1}


class Lazy(own_students.PlainStudent):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LazyConv2d(3, 3, padding=1))


class Close(own_students.PlainStudent):
    """Divides by what bfloat16 rounds to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.001))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / (self.gain - 1)


class Even(own_students.PlainStudent):
    """Takes even sides alone."""

    multiple_of = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2))


class Cut(own_students.PlainStudent):
    """Drops what does not fill its grid."""

    multiple_of = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(super().forward(F.avg_pool2d(x, 2)), scale_factor=2)


class Sparse(own_students.PlainStudent):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("few", torch.eye(3).to_sparse())


NESTED = {"body": {"layers": [{"_target_": "torch.nn.LeakyReLU"}]}}


def local() -> nn.Module:
    class Local(own_students.PlainStudent):
        pass

    return Local()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Even(), "fails on an image 17x19: .*any height and width: pad and crop inside"),
        (Cut(), r"gives \(1, 3, 16, 18\) for \(1, 3, 17, 19\), .*any height and width"),
    ],
    ids=["even sides", "cut sides"],
)
def test_student_that_needs_even_sides_can_be_written_and_is_refused_for_a_new_run(
    network: nn.Module, message: str
) -> None:
    check_saveable(network, {})
    with pytest.raises(UserError, match=message) as refusal:
        check_any_size(network)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (Stateless(), {}, r"Stateless\.scale is None: a network must state scale, takes_lr"),
        (own_students.PlainStudent(width=5), {}, "tensors do not fit PlainStudent"),
        (own_students.PlainStudent(), {"width": range(3)}, "must be JSON"),
        (own_students.PlainStudent(3), {}, "built again from its arguments states"),
        (forgetful(), {}, "computes something else"),
        (shadowing(), {}, "another class than the network's"),
        (Larger(), {}, r"gives \(1, 3, 16, 32\) for \(1, 3, 16, 16\), which is not what scale=2"),
        (Broken(), {}, "Broken fails on an image 16x16: "),
        (local(), {}, "define the class at the top of a module"),
        (Stateful(), {}, "_extra_state is a dict that get_extra_state gives"),
        (Lazy(), {}, r"body\.0\.weight has no shape before the first image"),
        (own_students.PlainStudent(), NESTED, "body holds a _target_, and artifacts rebuild"),
        (Sparse(), {}, "its state cannot be written"),
    ],
    ids=[
        "states nothing",
        "arguments",
        "no JSON",
        "scale",
        "forgetful",
        "impostor",
        "larger",
        "broken",
        "local",
        "extra state",
        "lazy",
        "nested target",
        "sparse",
    ],
)
def test_student_that_would_not_come_back_is_refused_in_one_line(
    tmp_path: Path, network: nn.Module, arguments: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        check_saveable(network, arguments)
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=message):
        save_artifact(tmp_path / "s.safetensors", network, arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rep", [False, True])
def test_layers_with_two_names_come_back_tied(tmp_path: Path, rep: bool) -> None:
    network = Tied(rep)
    check_saveable(network, {"rep": rep})
    loaded, _ = load_artifact(save_artifact(tmp_path / "s.safetensors", network, {"rep": rep}))
    x = torch.rand(1, 3, 9, 11)
    torch.testing.assert_close(loaded(x), network(x), atol=1e-5, rtol=0)
    assert rep or loaded.again is loaded.middle


def test_student_that_does_not_bear_rounded_weights_is_refused_before_its_training() -> None:
    with pytest.raises(UserError, match="NaN or infinite values, once its parameters are"):
        check_saveable(Close(), {})
    check_saveable(Turned(), {})


def test_check_leaves_the_student_as_it_is() -> None:
    network = StudentCNN(rep=True).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_saveable(network, {"rep": True})
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    with pytest.raises(UserError, match=r"bad\.safetensors: no such file"):
        load_artifact(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"bad\.safetensors: not a readable safetensors"):
        load_artifact(path)
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"bad\.safetensors: not an artifact"):
        load_artifact(path)


def zeroed(content: bytes) -> bytes:
    """As an interrupted download leaves a file whose place was taken before."""
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def flipped(content: bytes) -> bytes:
    """A bit of the last weight."""
    return content[:-1] + bytes([content[-1] ^ 1])


def cast(content: bytes) -> bytes:
    """To float16, the header as it was."""
    tensors = {name: value.half() for name, value in safetensors.torch.load(content).items()}
    return safetensors.torch.save(tensors, header_of(content))


def swapped(content: bytes) -> bytes:
    """Two layers of one shape."""
    tensors = safetensors.torch.load(content)
    tensors["body.2.weight"], tensors["body.4.weight"] = (
        tensors["body.4.weight"],
        tensors["body.2.weight"],
    )
    return safetensors.torch.save(tensors, header_of(content))


def header_of(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    header: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return header


@pytest.mark.parametrize("damage", [zeroed, flipped, cast, swapped])
def test_damaged_weights_are_refused_in_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    arguments = {"width": 8, "depth": 5}
    path = save_artifact(tmp_path / "s.safetensors", StudentFast(**arguments), arguments)
    path.write_bytes(damage(path.read_bytes()))
    for read in (load_artifact, read_state):
        with pytest.raises(UserError, match=r"s\.safetensors: damaged.* copy it again$"):
            read(path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.bool, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_digest_is_of_name_dtype_shape_and_bytes(dtype: torch.dtype, shape: tuple) -> None:
    tensors = {"a": torch.ones(shape, dtype=dtype), "b": torch.zeros(2)}
    digest = tensors_digest(tensors)
    assert digest == tensors_digest(dict(reversed(tensors.items())))
    others = [
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"].to(torch.int8), "b": tensors["b"]},
        {"a": tensors["a"][None], "b": tensors["b"]},
        {"a": tensors["a"], "b": torch.tensor([0.0, -0.0])},
    ]
    assert len({digest, *map(tensors_digest, others)}) == 5


def test_artifact_of_a_later_format_asks_for_a_newer_version(tmp_path: Path) -> None:
    path = save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    path.write_bytes(path.read_bytes().replace(FORMAT.encode(), b"kd_lightning/2"))
    with pytest.raises(UserError, match=r"s\.safetensors: .*kd_lightning/2, .* install a newer"):
        load_artifact(path)


def test_truncated_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    path = save_artifact(tmp_path / "s.safetensors", StudentCNN(), {})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a readable"):
        load_artifact(path)
    path.write_bytes(content.replace(b"StudentCNN", b"StudentABC"))
    with pytest.raises(UserError, match=r"is a kd_lightning\.models\.students\.StudentABC"):
        load_artifact(path)
    undigested = content.replace(DIGEST.encode(), b"_" * len(DIGEST))  # as of version 0.1.0
    path.write_bytes(undigested)
    load_artifact(path)
    path.write_bytes(undigested.replace(b"body.0.bias", b"body.9.bias"))
    with pytest.raises(UserError, match="tensors do not fit"):
        load_artifact(path)


@pytest.mark.parametrize("seed", [0, 20240101, -(2**40), 2**62])
def test_whole_numbers_that_size_nothing_are_arguments_like_others(
    tmp_path: Path, seed: int
) -> None:
    network = own_students.Seeded(seed)
    path = save_artifact(tmp_path / "s.safetensors", network, {"seed": seed})
    x = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(load_artifact(path)[0](x), network(x))


@pytest.mark.parametrize("arguments", [{"layers": 10**9}, {"table": 10**12}])
def test_whole_numbers_that_would_fill_the_memory_without_weights_are_refused(
    arguments: dict[str, int],
) -> None:
    held = own_students.Layered().state_dict()
    with pytest.raises(UserError, match=r"f: .* does not fit its [0-9]+ weights"):
        build("f", "tests.own_students.Layered", arguments, held)
