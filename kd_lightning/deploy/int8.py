"""Post-training quantization of an OpenVINO graph to 8-bit integers, by NNCF."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.on_lr import SKIP
from kd_lightning.errors import UserError
from kd_lightning.imageio.folders import describe, list_folder
from kd_lightning.imageio.images import image_sides, read_image
from kd_lightning.models.interpolate import downscale, upscale
from kd_lightning.models.network import Network

CALIBRATION_TILE = 128  # pixels of the network's input
CALIBRATION_TILES = 256


@torch.inference_mode()
def calibration_tiles(folder: Path | None, network: Network) -> list[Tensor]:
    """The network's inputs (1,3,CALIBRATION_TILE,CALIBRATION_TILE) float32 in [0, 1], cut from the
    images of `folder` as training cuts them: shrunk and, unless `takes_lr`, interpolated back. Grey
    becomes RGB, 16 bits are kept, alpha is dropped; images that are smaller than a tile are left
    out.

    Raises:
        UserError: there is no such image; names a file that cannot be read.
    """
    scale = network.scale
    least = (CALIBRATION_TILE if network.takes_lr else -(-CALIBRATION_TILE // scale)) * scale
    files = [file for file in _images(folder) if min(image_sides(file)) >= least]
    if not files:
        raise UserError(f"{folder}: no image of at least {least} pixels a side to calibrate with")
    generator = np.random.default_rng(0)
    tiles: list[Tensor] = []
    each = -(-CALIBRATION_TILES // len(files))
    for file in files[:CALIBRATION_TILES]:
        image = _network_input(_rgb(file), network)
        height, width = image.shape[-2:]
        for _ in range(each):
            top = int(generator.integers(height - CALIBRATION_TILE + 1))
            left = int(generator.integers(width - CALIBRATION_TILE + 1))
            tile = image[..., top : top + CALIBRATION_TILE, left : left + CALIBRATION_TILE]
            tiles.append(tile.contiguous())
    return tiles[:CALIBRATION_TILES]


def _images(folder: Path | None) -> list[Path]:
    if folder is None:
        raise UserError("int8 needs real images: give --calibration FOLDER")
    if not folder.is_dir():
        trouble = "is no folder" if folder.exists() else "no such folder"
        raise UserError(f"--calibration {folder}: {trouble}; int8 needs one of real images")
    images, left_out = list_folder(folder)
    if not images:
        held = describe(left_out) or "it is empty"
        raise UserError(f"--calibration {folder}: no images in this folder itself: {held}")
    return images


def _rgb(file: Path) -> Tensor:
    """(1,3,H,W) float32 in [0, 1]."""
    pixels = read_image(file, str(file)).pixels
    colours = torch.from_numpy(pixels.astype(np.float32)) / np.iinfo(pixels.dtype).max
    colours = colours[..., : 1 if pixels.shape[2] < 3 else 3]
    return colours.expand(*pixels.shape[:2], 3).permute(2, 0, 1)[None]


def _network_input(hr: Tensor, network: Network) -> Tensor:
    """What the network takes in training where `hr` (1,3,H,W) is the ground truth."""
    scale = network.scale
    hr = hr[..., : hr.shape[-2] // scale * scale, : hr.shape[-1] // scale * scale]
    image = downscale(hr, scale).clamp_(0, 1)
    return image if network.takes_lr else upscale(image, scale).clamp_(0, 1)


def quantized(graph: Any, tiles: list[Tensor]) -> Any:
    """The ov.Model in int8, its ranges from `calibration_tiles`.

    Raises:
        UserError: NNCF is not installed.
    """
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError:
        raise UserError("int8 export needs: pip install 'kd_lightning[int8]'") from None
    # Rounding the image itself to 8 bits is most of the loss: the first layer stays in float, and
    # so does the interpolation of a network that has it inside.
    convolutions = [op for op in graph.get_ordered_ops() if op.get_type_name() == "Convolution"]
    skips = [op for op in convolutions if op.input_value(1).get_node().get_friendly_name() == SKIP]
    ignored = skips or convolutions[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nncf.quantize(
            graph,
            nncf.Dataset([tile.numpy() for tile in tiles]),
            subset_size=len(tiles),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=nncf.IgnoredScope(names=[op.get_friendly_name() for op in ignored]),
            # The default clips at the mean of the tiles' extremes, which darkens highlights. Of
            # extremes, their means and quantiles, these lost least on photographs set aside.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )
