"""Post-training quantization of an OpenVINO graph to 8-bit integers, by NNCF."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.on_lr import SKIP
from kd_lightning.errors import UserError
from kd_lightning.imageio.folders import list_folder
from kd_lightning.imageio.images import read_image
from kd_lightning.models.interpolate import downscale, upscale
from kd_lightning.models.network import Network

CALIBRATION_TILE = 128  # pixels of the network's input
CALIBRATION_TILES = 256


@torch.inference_mode()
def calibration_tiles(folder: Path | None, network: Network) -> list[Tensor]:
    """The network's inputs (1,3,CALIBRATION_TILE,CALIBRATION_TILE) float32, cut from the images
    of `folder` as training cuts them: shrunk and, unless `takes_lr`, interpolated back."""
    files = list_folder(folder)[0] if folder and folder.is_dir() else []
    if not folder or not files:
        raise UserError(f"int8 needs real images: --calibration FOLDER (now {folder})")
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
        raise UserError(f"{folder}: no RGB image of {CALIBRATION_TILE} pixels a side")
    return tiles[:CALIBRATION_TILES]


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
