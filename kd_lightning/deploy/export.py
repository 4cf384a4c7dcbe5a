"""Turn a trained student into a file that other programs run, checked against torch."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning import quality
from kd_lightning.deploy.backends.backend import Runner
from kd_lightning.deploy.backends.select import backends
from kd_lightning.deploy.browser import SUFFIX as BROWSER
from kd_lightning.deploy.browser import write_browser
from kd_lightning.deploy.int8 import calibration_tiles
from kd_lightning.deploy.mpv import SUFFIX as MPV
from kd_lightning.deploy.mpv import write_mpv
from kd_lightning.deploy.parity import compare, tolerance_of
from kd_lightning.errors import UserError
from kd_lightning.files import ABANDONED, TEMPORARY, mode_of, remove_leftovers, unwritable
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.checkpoint import load_checkpoint
from kd_lightning.models.lookup import qualified_name
from kd_lightning.models.network import Network, model_info

INT8_PSNR = 38.0  # dB between the int8 and the float32 output on calibration tiles


def load_any(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network of an artifact, or of a Lightning checkpoint of `train.py`, and its metadata.

    Raises:
        UserError: neither of the two, or damaged, or of a class that is not known here.
    """
    if path.suffix not in (".ckpt", ".safetensors"):
        raise UserError(
            f"{path}: kd-export reads the student.safetensors or a .ckpt of a run, or the name of "
            "a student of the package"
        )
    return load_checkpoint(path) if path.suffix == ".ckpt" else load_artifact(path)


def export(
    source: Path, target: Path, precision: str = "fp32", calibration: Path | None = None
) -> dict[str, float]:
    """Write `target` (.safetensors, .onnx, .xml, .kdw or .glsl) from an artifact or checkpoint.

    Args:
        precision: fp32; for .xml also fp16 (weights stored in half the space) and int8 (NNCF
            post-training quantization, which needs `calibration`, a folder of HR images).

    Returns:
        What the check measured: "largest difference" in [0, 1] over `parity.SIZES` or, for int8,
        "psnr to fp32" in dB on the calibration tiles.

    Raises:
        UserError: something is missing, or the export does not compute what torch does; then
            nothing is written.
    """
    writers = {suffix: item for item in backends() for suffix in item.exports}
    kinds: dict[str, tuple[str, ...]] = {
        ".safetensors": ("fp32",),
        BROWSER: ("fp32",),
        MPV: ("fp32",),
    }
    kinds |= {suffix: item.exports[suffix] for suffix, item in writers.items()}
    able = "; ".join(f"{suffix} in {', '.join(able)}" for suffix, able in kinds.items())
    if target.suffix not in kinds:
        ending = target.suffix or "a file without suffix"
        raise UserError(
            f"{target}: cannot write {ending}; exports are {able}; end a folder's name in /"
        )
    if precision not in kinds[target.suffix]:
        raise UserError(f"{target}: precision={precision} cannot be had; exports are {able}")
    network, metadata = load_any(source)
    if target.suffix == ".safetensors":
        extra = {k: v for k, v in metadata.items() if k not in ("architecture", "arguments")}
        save_artifact(target, network, metadata["arguments"], extra)
        return {}
    if target.suffix == BROWSER:
        with _written_whole(target) as part:
            return write_browser(network, metadata, part, target)
    if target.suffix == MPV:
        with _written_whole(target) as part:
            return write_mpv(network, part, target)
    backend = writers[target.suffix]
    if not backend.supports(network):
        raise UserError(
            f"{target}: the graph of a {type(network).__name__} fits one size only; use "
            ".safetensors"
        )
    if not backend.installed():
        raise UserError(f"{target}: needs pip install 'kd_lightning[{backend.extra}]'")
    tiles = calibration_tiles(calibration, network) if precision == "int8" else []
    header = {**metadata, "architecture": qualified_name(network)}
    header |= {"model_info": model_info(network).as_dict(), "precision": precision}
    with _written_whole(target) as part:
        backend.write(network, header, part, precision, tiles)
        runner = backend.open_file(part, "fp32")
        if precision == "int8":
            return _compare_int8(network, runner, tiles, target)
        return compare(network, runner, tolerance_of(network, precision), target)


@torch.inference_mode()
def _compare_int8(
    network: Network, run: Runner, tiles: list[Tensor], name: Path
) -> dict[str, float]:
    scores = [float(quality.psnr(network(tile), run(tile))) for tile in tiles[:32]]
    mean = sum(scores) / len(scores)
    if not mean >= INT8_PSNR:
        raise UserError(f"{name}: int8 is {mean:.1f} dB from fp32, at least {INT8_PSNR} is wanted")
    return {"psnr to fp32": mean}


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A name to write in a folder of its own; what lies there is moved beside `target` at the
    end, the weights (.bin) before the graph that names them, with the permissions of what they
    replace. Folders that had to be made for `target` go again where nothing is written."""
    missing = [place for place in target.parents if not place.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, recursive=False, older_than=ABANDONED)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=target.parent))
    except OSError as error:
        raise unwritable(target, error) from None
    try:
        yield folder / target.name
        for file in sorted(folder.iterdir(), key=lambda file: file.name == target.name):
            place = target.parent / file.name
            if (kept := mode_of(place)) is not None:
                file.chmod(kept)
            os.replace(file, place)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # which no folder is that holds something
            for place in missing:
                place.rmdir()
