"""Words for a user's own values: others for what does something else, the same in any process."""

import enum
import functools
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.words import words


@dataclass
class Settings:
    gain: float = 1.0


class Slotted:
    __slots__ = ("gain",)

    def __init__(self, gain):
        self.gain = gain


class Loader:
    def __init__(self, gain):
        self.gain = gain

    def load(self, path, scale):
        return self.gain

    def __call__(self, path, scale):
        return self.gain


class Kind(enum.Enum):
    ONE, TWO = 1, 2


def prompted(body):
    """A function that was typed at a prompt: it has no file."""
    scope = {"__name__": "a_prompt"}
    exec(f"def load(path, scale): {body}", scope)
    return scope["load"]


def closing_over(value):
    return lambda path, scale: value


PAIRS = {
    "lambdas": (lambda path, scale: 1, lambda path, scale: 2),
    "lambdas by name": (lambda x: x.real, lambda x: x.imag),
    "functions of a prompt": (prompted("return 1"), prompted("return 2")),
    "lambdas in a prompt's": tuple(prompted(f"return (lambda: {n})()") for n in (1, 2)),
    "type": (1, "1"),
    "float": (1.0, 0.3),
    "list of objects": ([Settings()], [Settings(0.3)]),
    "dataclass": (Settings(), Settings(0.3)),
    "slots": (Slotted(1.0), Slotted(0.3)),
    "object": (Loader(1.0), Loader(0.3)),
    "bound method": (Loader(1.0).load, Loader(0.3).load),
    "object in an object": (Loader(Settings()), Loader(Settings(0.3))),
    "closure": (closing_over(1), closing_over(2)),
    "cached": (functools.lru_cache(closing_over), functools.lru_cache(Loader)),
    "partial": (functools.partial(Loader, 1), functools.partial(Loader, 2)),
    "enum": (Kind.ONE, Kind.TWO),
    "class": (Slotted, Settings),
    "path": (Path("a/b"), Path("a/c")),
    "pattern": (re.compile("a"), re.compile("b")),
    "config": (OmegaConf.create({"a": [1]}), OmegaConf.create({"a": [2]})),
    "array": (np.zeros(3), np.ones(3)),
    "tensor": (torch.zeros(3), torch.ones(3)),
    "bf16": (torch.zeros(3, dtype=torch.bfloat16), torch.zeros(3)),
    "network": (nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)),
    "set": ({"a", "b"}, {"a", "c"}),
    "bytes": (b"a", b"b"),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_does_something_else_has_other_words(pair):
    one, other = (words(value, "load") for value in pair)
    assert one != other and words(pair[0], "load") == one
    assert " at 0x" not in one + other


def test_what_holds_itself_has_words():
    loader, other = Loader(1), Loader(2)
    loader.me, other.me = loader, other
    assert words(loader, "load") != words(other, "load")


def test_order_of_keys_does_not_count():
    assert words({"a": 1, "b": [2]}, "load") == words({"b": [2], "a": 1}, "load")


def test_what_is_met_again_and_again_is_taken_apart_once():
    value = [1]
    for _ in range(60):
        value = [value, value]
    assert words(value, "load") != words([value, value], "load")


@pytest.mark.parametrize("value", [torch.float16, torch.device("cpu"), nn.ReLU, np.float64])
def test_files_of_usual_packages_do_not_count(value, monkeypatch):
    before = words(value, "load")
    monkeypatch.setattr("kd_lightning.models.words.file_hash", lambda path: "0" * 64)
    assert words(value, "load") == before


def test_what_cannot_be_told_apart_is_refused_with_its_key():
    with pytest.raises(UserError, match=r"^teacher\.load\.x: .*lock.*__getstate__$"):
        words(Loader(threading.Lock()), "teacher.load.x")


def test_functions_of_one_name_are_told_apart_by_module_and_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "def load(path, scale):\n    return {}\n"
    (tmp_path / "own_words_a.py").write_text(code.format(1))
    (tmp_path / "own_words_b.py").write_text(code.format(1))
    import own_words_a
    import own_words_b

    before = words(own_words_a.load, "load")
    assert before != words(own_words_b.load, "load")
    (tmp_path / "own_words_a.py").write_text(code.format(2))
    assert words(own_words_a.load, "load") != before


def test_another_process_has_the_same_words():
    code = (
        "from tests.models.test_words import *\n"
        "values = [Loader({'a', 'b', 'c'}), closing_over(Settings()), Kind.ONE, [Slotted(1)]]\n"
        "print(words(values, 'load'))"
    )
    values = [Loader({"a", "b", "c"}), closing_over(Settings()), Kind.ONE, [Slotted(1)]]
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == words(values, "load")
