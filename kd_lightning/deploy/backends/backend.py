"""What a backend is, and what it gives: a `Runner`."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.models.network import ModelInfo, Network
from kd_lightning.yuv import Matrix, Plane, Yuv

Precision = Literal["auto", "fp32", "bf16", "fp16"]
P = ParamSpec("P")
T = TypeVar("T")

# Side of a tile, at the size that the convolutions see. Engines are slowed by tiles of different
# shapes, torch more by maps that outgrow the caches.
ENGINE_TILE = 1280
TORCH_TILE = 512


@dataclass(frozen=True)
class Runner:
    """A network ready to run: call it with (B,3,H,W) float32 in [0, 1] on `device`. On the CPU
    several threads may share it.

    Attributes:
        run: the computation; returns float32, unclamped.
        name: backend, device and precision, for people.
        scale, takes_lr, radius, multiple_of: as the network's.
        tile: side, in the network's input, at which large images run fast and activations stay
            within some hundred megabytes.
        frame: (1,h,w,3) uint8 on the CPU to (1,h*scale,w*scale,3) uint8, interpolation and
            rounding included; None where only `run` can.
        stream: many frames of one size, (h,w,3) uint8, faster than one `frame` after the other;
            what it yields lasts until the next is asked for. None where it would not be faster.
        planes: (h,w,3) uint8 RGB, matrix and range to YUV 4:2:0 planes (kd_lightning.yuv) of
            (h*scale,w*scale), faster than `frame` and a conversion. None where it would not be.
        luma: 4:2:0 planes, at scale 1 of even height and width, matrix and range to planes of
            (h*scale,w*scale) whose luma is restored and whose chroma is the same or interpolated,
            for a network that restores luma alone. None where it does not, or is not faster.
        metadata: what the file says of the weights beside that: the header of an artifact, of which
            exports have a copy (see `kd_lightning.models.artifact`).
    """

    run: Callable[[Tensor], Tensor]
    name: str
    device: torch.device
    scale: int
    takes_lr: bool
    radius: int
    multiple_of: int
    tile: int = TORCH_TILE
    frame: Callable[[Tensor], Tensor] | None = None
    stream: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]] | None = None
    planes: Callable[[Plane, Matrix, bool], Yuv] | None = None
    luma: Callable[[Yuv, Matrix, bool], Yuv] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def degradation(self) -> str | None:
        """Key of what the network was trained to undo; None where the file says nothing."""
        return self.metadata.get("degradation")

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)


class Backend:
    """One way to run networks.

    Attributes:
        name: as `--backend` has it, and as in MODULES.
        extra: of the package kd_lightning, which installs it; "" where nothing is to install.
        module: is importable where it is installed.
        exports: suffix of the files that it writes and runs -> the precisions of their weights.
    """

    name: str
    extra: str
    module: str
    exports: Mapping[str, tuple[str, ...]] = {}

    def installed(self) -> bool:
        return find_spec(self.module) is not None

    def precisions(self, device: torch.device) -> tuple[str, ...]:
        """What it computes in on this device, what "auto" takes first; () if it does not run."""
        raise NotImplementedError

    def supports(self, network: Network) -> bool:
        """Whether it runs this network."""
        return True

    def suits(self, network: Network, precision: str) -> bool:
        """Whether "auto" may take it for this network; `precision` may be "auto" too."""
        return True

    def open(self, network: Network, device: torch.device, precision: str) -> Runner:
        """A runner for a network in memory, which stays as it is."""
        raise NotImplementedError

    def open_file(self, path: Path, precision: str) -> Runner:
        """A runner, on the CPU, for a file with one of the suffixes in `exports`.

        Raises:
            UserError: the file is not what `write` wrote.
        """
        raise NotImplementedError

    def write(
        self,
        network: Network,
        header: Mapping[str, Any],
        path: Path,
        precision: str,
        calibration: list[Tensor],
    ) -> None:
        """Write the network with `header` (strings to JSON values) for `open_file`.

        Args:
            precision: of the weights; one that `exports` has for the suffix of `path`.
            calibration: inputs of the network (1,3,h,w) float32, for int8; else empty.
        """
        raise NotImplementedError


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def lazily(build: Callable[[], Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """A function that is built when it is first called: compiling takes a second."""
    built = functools.cache(build)
    return lambda x: built()(x)


def in_turn(lock: Lock, call: Callable[P, T]) -> Callable[P, T]:
    """`call`, which threads enter one after the other: for engines whose buffers are one caller's
    until it has copied from them. Functions that share buffers or graphs share the lock."""

    @functools.wraps(call)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return call(*args, **kwargs)

    return guarded


def runner_fields(info: ModelInfo) -> dict[str, Any]:
    """What a `Runner` has of what its network states."""
    names = {field.name for field in fields(Runner)}
    return {key: value for key, value in info.as_dict().items() if key in names}


def not_an_export(path: Path, error: Exception) -> UserError:
    """What to raise where an engine cannot read the file."""
    reason = " ".join(str(error).split())[:120]
    return UserError(f"{path}: not an export of kd-export ({reason})")


def read_header(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a `Runner` that the header of an export (strings of JSON) has.

    Raises:
        UserError: it has none.
    """
    try:
        if "model_info" in header:
            stated = json.loads(header["model_info"])
        else:  # as the first versions wrote it
            stated = json.loads(header["traits"])
            stated["multiple_of"] = stated.pop("stride")
        kinds = {field.name: field.type for field in fields(ModelInfo)}
        info = ModelInfo(**stated)
        if any(type(value) is not kinds[key] for key, value in info.as_dict().items()):
            raise ValueError(stated)
        if not (1 <= info.scale <= 16 and 0 <= info.radius < 4096 > info.multiple_of >= 1):
            raise ValueError(stated)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: not an export of kd-export, its header describes no network "
            f"({str(error)[:80]}); export it again"
        ) from None
    return runner_fields(info) | {"metadata": _metadata(header)}


def _metadata(header: Mapping[str, str]) -> dict[str, Any]:
    """What the header has of an artifact's; other programs may have added texts of their own."""
    found: dict[str, Any] = {}
    for key in header.keys() - {"model_info", "traits"}:
        with suppress(ValueError, RecursionError):
            found[key] = json.loads(header[key])
    return found
