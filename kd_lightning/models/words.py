"""Words for a value of a user's own: the same in every process, others for another value."""

import copyreg
import hashlib
import inspect
import sys
import types
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig

from kd_lightning.errors import UserError
from kd_lightning.files import file_hash

PLAIN = (type(None), bool, int, float, complex, str)
OURS = __name__.partition(".")[0]
# Of which another version gives the same, and whose files count for nothing.
KNOWN = {OURS, "torch", "torchvision", "numpy", "omegaconf", "PIL", *sys.stdlib_module_names}
LONGEST = 200  # characters; of longer words the hash says as much


def words(value: Any, key: str) -> str:
    """What `value`, of the key `key`, does, as far as it can be told: functions and classes by
    module, name and the hash of the module's file, objects by their class and state.

    Raises:
        UserError: it holds what has no words, such as an open file or a lock.
    """
    try:
        return _Words().of(value)
    except Exception as error:  # whatever an object's own __getstate__ raises
        reason = " ".join(str(error).split())
        raise UserError(
            f"{key}: what it holds cannot be told from other values, so its outputs cannot be "
            f"cached ({reason}); give it plain values, or define __getstate__"
        ) from None


def is_ours(value: Any) -> bool:
    """Whether it is a function or a class of this package."""
    kinds = types.FunctionType | type
    return isinstance(value, kinds) and value.__module__.partition(".")[0] == OURS


class _Words:
    """Of one value: what is met twice in it is taken apart once."""

    def __init__(self) -> None:
        self._around: list[int] = []
        # With the values themselves, for an object that is gone leaves its id to another.
        self._found: dict[int, tuple[Any, str]] = {}

    def of(self, value: Any) -> str:
        if type(value) in PLAIN:
            return repr(value)
        if id(value) in self._found:
            return self._found[id(value)][1]
        if id(value) in self._around:
            return f"^{len(self._around) - self._around.index(id(value))}"
        self._around.append(id(value))
        found = self._of(value)
        self._around.pop()
        found = found if len(found) <= LONGEST else f"sha256 {_sha256(found.encode())}"
        self._found[id(value)] = value, found
        return found

    def _several(self, values: Any) -> str:
        return ", ".join(map(self.of, values))

    def _unordered(self, values: Any) -> str:
        return ", ".join(sorted(map(self.of, values)))

    def _of(self, value: Any) -> str:
        if isinstance(value, type):
            return _named(value, value.__qualname__)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            parts = [*value.co_consts, *value.co_names]
            return f"code {_sha256(value.co_code)[:12]}({self._several(parts)})"
        if isinstance(value, torch.Tensor):
            raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return f"{value.dtype} {tuple(value.shape)} {_sha256(raw)}"
        if isinstance(value, bytes | bytearray):
            return f"bytes {_sha256(value)}"
        if type(value) in (dict, DictConfig):
            return f"{{{self._unordered(value.items())}}}"
        if type(value) in (list, ListConfig):
            return f"[{self._several(value)}]"
        if type(value) is tuple:
            return f"({self._several(value)})"
        if isinstance(value, set | frozenset):
            return f"{{{self._unordered(value)}}}"
        known = copyreg.dispatch_table.get(type(value))
        reduced = known(value) if known else value.__reduce_ex__(2)  # as pickle takes it apart
        if isinstance(reduced, str):
            return _named(value, reduced)
        make, given, *rest = reduced
        state, items = rest[:1], [list(part or ()) for part in rest[1:]]
        return f"({self._several([make, given, *state, *items])})"

    def _function(self, value: types.FunctionType) -> str:
        name, module = value.__qualname__, value.__module__ or ""
        held = [_held(cell) for cell in value.__closure__ or ()]
        kept: list[Any] = [held, value.__defaults__, value.__kwdefaults__, vars(value)]
        usual = module.partition(".")[0] in KNOWN
        if not usual and ("<lambda>" in name or not _source(value, module)):
            kept.append(value.__code__)  # nothing else tells two of them apart
        name = _named(value, name)
        return f"{name}({self._several(kept)})" if any(kept) else name


def _held(cell: Any) -> Any:
    try:
        return [cell.cell_contents]
    except ValueError:  # a name that has no value yet
        return []


def _named(value: Any, name: str) -> str:
    module = getattr(value, "__module__", None) or type(value).__module__
    return f"{module}.{name} {_source(value, module)[:12]}".rstrip()


def _source(value: Any, module: str) -> str:
    """The hash of the file that `module` comes from, in a notebook of the source of `value`; ""
    where there is neither, and of what is KNOWN."""
    if module.partition(".")[0] in KNOWN:
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and Path(file).is_file():
        return file_hash(Path(file))
    try:
        return _sha256(inspect.getsource(value).encode())
    except (OSError, TypeError):
        return ""


def _sha256(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()
