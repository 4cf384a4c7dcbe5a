"""Teachers: what a student learns from, named so that their cached outputs cannot be mixed up."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kd_lightning.download import download, home
from kd_lightning.errors import UserError
from kd_lightning.files import SHIPPED_WEIGHTS, file_hash, sibling
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import super_resolve
from kd_lightning.models.network import Network
from kd_lightning.models.tiling import tiled
from kd_lightning.models.words import is_ours, words


class NetworkTeacher:
    """A network with weights, and how it is applied to whole images.

    The weights are, in this order: ``weights``, a file of the user; ``bundled``, a file that comes
    with the package; the file at ``url``, fetched on first use to ``$KD_LIGHTNING_HOME/teachers``
    and checked against ``size`` (bytes) and ``sha256`` (hex).

    ``load``: called with the file and the scale, returns the network (float (B, 3, h, w) in [0, 1]
    -> (B, 3, h*scale, w*scale)), or raises UserError.
    ``self_ensemble``: average over the 8 flips and rotations of the image (Lim et al. 2017, EDSR+).
    ``precision``: "bf16" runs the network under autocast.
    ``input``: "clean": the network sees the bicubic LR images, whatever a student must undo;
    "degraded": it sees those that the student gets, and has an output for each version of them.
    ``tile``: LR pixels; larger images go in tiles, each with ``halo`` pixels of context to each
    side, cross-faded over ``blend`` pixels.
    """

    # No dataclass: Hydra would turn one that it passes on into a config.
    def __init__(
        self,
        name: str,
        load: Callable[[Path, int], nn.Module],
        scale: int,
        weights: str | Path | None = None,
        bundled: str | None = None,
        url: str | None = None,
        size: int | None = None,
        sha256: str | None = None,
        self_ensemble: bool = False,
        precision: Literal["fp32", "bf16"] = "fp32",
        input: Literal["clean", "degraded"] = "clean",
        tile: int = 256,
        halo: int = 24,
        blend: int = 8,
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise UserError(f"teacher.precision={precision}: must be fp32 or bf16")
        if input not in ("clean", "degraded"):
            raise UserError(f"teacher.input={input}: must be clean or degraded")
        if min(halo, blend) < 0 or tile < max(1, 2 * blend):
            raise UserError(
                f"teacher.tile={tile}, teacher.halo={halo}, teacher.blend={blend}: "
                "halo and blend must be at least 0, tile at least 1 and twice the blend"
            )
        self.name, self.load, self.scale = name, load, scale
        self.loader = _loader(load)  # now, for an object may change as it loads
        self.weights, self.bundled = weights, bundled
        self.url, self.size, self.sha256 = url, size, sha256
        self.self_ensemble, self.precision = self_ensemble, precision
        self.input = input
        self.tile, self.halo, self.blend = tile, halo, blend

    @property
    def key(self) -> str:
        """Names the folder of cached outputs: whatever changes an output changes the key.

        Does not fetch weights whose hash is known, but for `load_trained`: its file names a class.
        Raises UserError where there are none.
        """
        parts = [self.name, self.digest[:12], f"t{self.tile}h{self.halo}b{self.blend}"]
        parts += ["x8"] * self.self_ensemble + ["bf16"] * (self.precision == "bf16")
        if self.code:
            parts.append(hashlib.sha256(json.dumps(self.code).encode()).hexdigest()[:8])
        return "-".join(parts)

    @cached_property
    def code(self) -> list[str]:
        """Whose code an output depends on, in words: ``load``, and the class of one's own that the
        artifact of `load_trained` names. Raises UserError where that is not known here."""
        if getattr(self.load, "func", self.load) is not load_trained:
            return self.loader
        network, _ = load_artifact(self.file)
        own = [] if is_ours(type(network)) else [words(type(network), "teacher.weights")]
        return [*self.loader, *own]

    @cached_property
    def digest(self) -> str:
        """The sha256 (hex) of the weights file. Raises UserError where there is none."""
        if self.sha256 and self.weights is None:
            return self.sha256
        return file_hash(self.file)

    @cached_property
    def file(self) -> Path:
        """The weights file; fetched, if need be. Raises UserError where that is impossible."""
        if self.weights is not None:
            path, remedy = Path(self.weights).expanduser(), "give the path of a weights file"
        elif self.bundled is not None:
            path, remedy = SHIPPED_WEIGHTS / self.bundled, "give a file with teacher.weights=<path>"
        elif self.url is not None:
            path = home() / "teachers" / self.url.rpartition("/")[2]
            return self._fetched(self.url, path)
        else:
            raise UserError(
                f"teacher={self.name} needs weights: give a file with teacher.weights=<path>"
            )
        if not path.is_file():
            raise UserError(f"{path}: no such file, the weights of teacher={self.name}; {remedy}")
        return path

    def _fetched(self, url: str, path: Path) -> Path:
        by_hand = path.exists()
        download(url, path, size=self.size, sha256=self.sha256)
        if by_hand and self.sha256 and (found := file_hash(path)) != self.sha256:
            raise UserError(f"{path}: has sha256 {found}, expected {self.sha256}; delete it")
        return path

    def network(self) -> nn.Module:
        """The network, frozen and in eval mode, on the CPU. Raises UserError for wrong weights."""
        network = self.load(self.file, self.scale)
        return network.eval().requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        """What the outputs depend on, for a manifest."""
        return {
            "teacher": self.name,
            "weights_sha256": self.digest,
            "scale": self.scale,
            "self_ensemble": self.self_ensemble,
            "precision": self.precision,
            "tile": self.tile,
            "halo": self.halo,
            "blend": self.blend,
            **({"load": self.code} if self.code else {}),
        }

    @torch.no_grad()
    def enhance(self, network: nn.Module, lr: Tensor) -> Tensor:
        """``network``'s output for uint8 (3, h, w), as uint8 (3, h*scale, w*scale).

        Raises UserError where it is of another size, or not all of it are numbers."""
        image = lr[None].float() / 255
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.self_ensemble:
                out = self_ensemble(lambda x: self._tiled(network, x), image)
            else:
                out = self._tiled(network, image)
        if not out.isfinite().all():
            fp32 = "" if self.precision == "fp32" else ", or take teacher.precision=fp32"
            raise UserError(
                f"teacher={self.name} gives NaN or infinite values; correct teacher.weights or "
                f"teacher.load{fp32}"
            )
        return (out[0].float().clamp(0, 1) * 255).round().byte()

    def _tiled(self, network: nn.Module, image: Tensor) -> Tensor:
        def checked(tile: Tensor) -> Tensor:
            out = network(tile)
            batch, _, height, width = tile.shape
            expected = (batch, 3, height * self.scale, width * self.scale)
            made = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            if made != expected:
                raise UserError(
                    f"teacher={self.name} makes {made} of {tuple(tile.shape)}, expected {expected} "
                    f"for scale={self.scale}; correct teacher.load or teacher.weights"
                )
            return out

        return tiled(
            checked,
            image,
            tile=self.tile,
            halo=self.halo,
            blend=self.blend,
            scale=self.scale,
            multiple=int(getattr(network, "multiple_of", 1)),
        )


class FromLr(nn.Module):
    """``network``, whatever its input, as a network that takes the LR image."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        step = network.multiple_of
        self.multiple_of = step if network.takes_lr else step // math.gcd(step, network.scale)

    def forward(self, lr: Tensor) -> Tensor:
        return super_resolve(self.network, lr)


def load_trained(path: Path, scale: int) -> FromLr:
    """The network of an artifact of ours (a run's student.safetensors), as a teacher.

    Raises:
        UserError: the file is not such an artifact, or its network's scale is another one.
    """
    network, _ = load_artifact(path)
    if network.scale != scale:
        raise UserError(f"{path}: a network of scale {network.scale}, but scale={scale}")
    return FromLr(network)


class FolderTeacher:
    """Outputs that somebody computed elsewhere, beside the HR images and paired by stem."""

    key = "folder"

    def folder(self, hr_folder: Path) -> Path:
        """photos/train_HR -> photos/train_teacher, DIV2K_train_HR -> DIV2K_train_teacher.

        Raises:
            UserError: the name does not hold "_HR", or there is no such folder.
        """
        folder = sibling(hr_folder, "_teacher")
        if folder is None:
            raise UserError(
                f"{hr_folder}: teacher=folder needs a folder named <name>_HR, to find "
                "<name>_teacher beside it; rename it"
            )
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; teacher=folder expects the teacher's outputs there"
            )
        return folder


def _loader(load: Callable[[Path, int], nn.Module]) -> list[str]:
    """What of ``load`` an output depends on, in words: a function of one's own, and what it is
    given. The package's functions follow the file, and what they ``expect`` is but checked.

    Raises UserError where it has no words."""
    function: Any = load
    calls = []
    while isinstance(function, partial):
        calls.append((function.args, function.keywords))
        function = function.func
    ours, given = is_ours(function), []
    for args, named in calls:
        given += [words(arg, "teacher.load") for arg in args]
        for key in sorted(named):
            if not (ours and key == "expect"):
                given.append(f"{key}={words(named[key], f'teacher.load.{key}')}")
    return [] if ours and not given else [words(function, "teacher.load"), *given]


def self_ensemble(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean of ``network`` over the 8 flips and rotations of ``image`` (B, C, h, w)."""
    total: Tensor | None = None
    for flip in (False, True):
        for turns in range(4):
            view = torch.rot90(image.flip(-1) if flip else image, turns, (-2, -1))
            out = torch.rot90(network(view), -turns, (-2, -1)).float()
            out = out.flip(-1) if flip else out
            total = out if total is None else total + out
    assert total is not None
    return total / 8
