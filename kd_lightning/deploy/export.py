"""Turn a trained student into a file that other programs run, checked against torch."""

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning import quality
from kd_lightning.deploy.backends import TOLERANCE, model_info, onnx_runner
from kd_lightning.deploy.onnx_graph import to_onnx
from kd_lightning.errors import UserError
from kd_lightning.files import unwritable
from kd_lightning.imageio.images import read_image
from kd_lightning.imageio.suffixes import READABLE
from kd_lightning.models import swinir
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.checkpoint import load_checkpoint
from kd_lightning.models.interpolate import downscale, upscale
from kd_lightning.models.lookup import qualified_name
from kd_lightning.models.network import Network

SIZES = ((64, 64), (96, 160), (61, 43))  # height, width of the check; the last is odd
CALIBRATION_TILE = 128  # pixels of the network's input
CALIBRATION_TILES = 256
INT8_PSNR = 38.0  # dB between the int8 and the float32 output on calibration tiles


def load_any(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network of an artifact, or of a Lightning checkpoint of `train.py`, and its metadata.

    Raises:
        UserError: neither of the two, or damaged.
    """
    return load_checkpoint(path) if path.suffix == ".ckpt" else load_artifact(path)


def export(
    source: Path, target: Path, precision: str = "fp32", calibration: Path | None = None
) -> dict[str, float]:
    """Write `target` (.safetensors, .onnx or .xml) from an artifact or checkpoint.

    Args:
        precision: fp32; for .xml also fp16 (weights stored in half the space) and int8 (NNCF
            post-training quantization, which needs `calibration`, a folder of HR pictures).

    Returns:
        What the check measured: "largest difference" in [0, 1] over SIZES or, for int8,
        "psnr to fp32" in dB on the calibration tiles.

    Raises:
        UserError: something is missing, or the export does not compute what torch does; then
            nothing is written.
    """
    kinds = {".safetensors": ["fp32"], ".onnx": ["fp32"], ".xml": ["fp32", "fp16", "int8"]}
    if precision not in kinds.get(target.suffix, []):
        raise UserError(f"{target}: exports are {kinds}; precision {precision} is not among them")
    network, metadata = load_any(source)
    if target.suffix == ".safetensors":
        extra = {k: v for k, v in metadata.items() if k not in ("architecture", "arguments")}
        save_artifact(target, network, metadata["arguments"], extra)
        return {}
    if isinstance(network, swinir.SwinIR):
        raise UserError(f"{target}: the graph of a SwinIR fits one size only; use .safetensors")
    header = {**metadata, "architecture": qualified_name(network)}
    header |= {"model_info": model_info(network), "precision": precision}
    with _written_whole(target) as part:
        if target.suffix == ".onnx":
            _write_onnx(to_onnx(network), header, part)
            return compare(network, onnx_runner(str(part)), TOLERANCE["fp32"], target)
        if precision == "int8":
            tiles = calibration_tiles(calibration, network)
            model = _quantized(_openvino_model(to_onnx(network)), tiles)
            _save_openvino(model, header, part, half=False)
            return _compare_int8(network, part, tiles, target)
        model = _openvino_model(to_onnx(network, split=True))
        _save_openvino(model, header, part, half=precision == "fp16")
        return compare(network, _run_openvino(part), TOLERANCE[precision], target)


@torch.inference_mode()
def compare(network: Network, run: Any, tolerance: float, name: Path) -> dict[str, float]:
    """Largest difference of `run` from the network over SIZES; UserError above `tolerance`."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for height, width in SIZES:
        x = torch.rand(1, 3, height, width, generator=generator)
        ours, theirs = network(x), run(x)
        if ours.shape != theirs.shape:
            raise UserError(f"{name}: {tuple(theirs.shape)} where torch gives {tuple(ours.shape)}")
        worst = float(np.maximum(worst, float((ours - theirs).abs().max())))  # NaN stays NaN
    if not worst <= tolerance:
        raise UserError(f"{name}: differs from torch by {worst:.2g}, allowed is {tolerance:.2g}")
    return {"largest difference": worst}


@torch.inference_mode()
def calibration_tiles(folder: Path | None, network: Network) -> list[Tensor]:
    """The network's inputs (1,3,CALIBRATION_TILE,CALIBRATION_TILE) float32, cut from the pictures
    of `folder` as training cuts them: shrunk and, unless `takes_lr`, interpolated back."""
    files = sorted(p for p in (folder or Path()).glob("*") if p.suffix.lower() in READABLE)
    if folder is None or not files:
        raise UserError(f"int8 needs real pictures: --calibration FOLDER (now {folder})")
    generator = np.random.default_rng(0)
    scale = network.scale
    tiles: list[Tensor] = []
    each = -(-CALIBRATION_TILES // len(files))
    for file in files:
        pixels = read_image(file, str(file)).pixels
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            continue
        hr = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        hr = hr[..., : hr.shape[-2] // scale * scale, : hr.shape[-1] // scale * scale]
        image = downscale(hr, scale).clamp_(0, 1)
        if not network.takes_lr:
            image = upscale(image, scale).clamp_(0, 1)
        height, width = image.shape[-2:]
        if min(height, width) < CALIBRATION_TILE:
            continue
        for _ in range(each):
            top = int(generator.integers(height - CALIBRATION_TILE + 1))
            left = int(generator.integers(width - CALIBRATION_TILE + 1))
            tile = image[..., top : top + CALIBRATION_TILE, left : left + CALIBRATION_TILE]
            tiles.append(tile.contiguous())
    if not tiles:
        raise UserError(f"{folder}: no RGB picture of {CALIBRATION_TILE} pixels a side")
    return tiles[:CALIBRATION_TILES]


def _write_onnx(graph: bytes, header: dict[str, Any], path: Path) -> None:
    try:
        import onnx
    except ImportError:
        raise UserError("ONNX export needs: pip install 'kd_lightning[onnx]'") from None
    model = onnx.load_model_from_string(graph)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in header.items()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def _openvino_model(graph: bytes) -> Any:
    try:
        import openvino
    except ImportError:
        raise UserError("this export needs: pip install 'kd_lightning[openvino]'") from None
    return openvino.Core().read_model(graph)


def _run_openvino(path: Path) -> Callable[[Tensor], Tensor]:
    from kd_lightning.deploy.backends.openvino import float_runner

    return float_runner(path, "fp32")


def _save_openvino(model: Any, header: dict[str, Any], path: Path, half: bool) -> None:
    import openvino

    for key, value in header.items():
        model.set_rt_info(json.dumps(value), ["kd_lightning", key])
    openvino.save_model(model, path, compress_to_fp16=half)


def _quantized(model: Any, tiles: list[Tensor]) -> Any:
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError:
        raise UserError("int8 export needs: pip install 'kd_lightning[int8]'") from None
    # Rounding the image itself to 8 bits is most of the loss: the first layer stays in float.
    first = next(op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset([tile.numpy() for tile in tiles]),
            subset_size=len(tiles),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=nncf.IgnoredScope(names=[first.get_friendly_name()]),
            # The default clips at the mean of the tiles' extremes, which darkens highlights. Of
            # extremes, their means and quantiles, these lost least on photographs set aside.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


@torch.inference_mode()
def _compare_int8(
    network: Network, path: Path, tiles: list[Tensor], name: Path
) -> dict[str, float]:
    run = _run_openvino(path)
    scores = [float(quality.psnr(network(tile), run(tile))) for tile in tiles[:32]]
    mean = sum(scores) / len(scores)
    if not mean >= INT8_PSNR:
        raise UserError(f"{name}: int8 is {mean:.1f} dB from fp32, at least {INT8_PSNR} is wanted")
    return {"psnr to fp32": mean}


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A name to write in a folder of its own; what lies there is moved beside `target` at the
    end, the weights (.bin) before the graph that names them."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export", dir=target.parent))
    except OSError as error:
        raise unwritable(target, error) from None
    try:
        yield folder / target.name
        for file in sorted(folder.iterdir(), key=lambda file: file.name == target.name):
            os.replace(file, target.parent / file.name)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
