"""How near each method comes to the original pictures, as deployed: 8 bits in, 8 bits out."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kd_lightning import quality
from kd_lightning.deploy.backends import Runner
from kd_lightning.deploy.enhance import enhance
from kd_lightning.errors import UserError
from kd_lightning.files import sibling
from kd_lightning.imageio.images import read_image
from kd_lightning.imageio.suffixes import READABLE
from kd_lightning.models.interpolate import upscale

Method = Callable[[np.ndarray, str], np.ndarray | Tensor | None]
Scores = dict[str, dict[str, float]]  # method -> metric -> mean over pictures


def pictures(folder: Path) -> list[Path]:
    """The pictures of a test set, sorted; UserError where there are none."""
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in READABLE)
    if not found:
        raise UserError(f"{folder}: no pictures here; give the folder of a test set's HR images")
    return found


def read_pair(path: Path, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """(lr, hr), uint8 HWC RGB: the picture cropped to a multiple of `scale`, and shrunk by
    Pillow's bicubic."""
    pixels = read_image(path, str(path)).pixels
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise UserError(f"{path}: test pictures are 8-bit grey or RGB without alpha")
    return pair(pixels, scale)


def pair(pixels: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """As `read_pair`, from (H,W,1 or 3) uint8."""
    height, width = (length // scale * scale for length in pixels.shape[:2])
    hr = np.broadcast_to(pixels[:height, :width], (height, width, 3))
    small = (width // scale, height // scale)
    lr = Image.fromarray(np.ascontiguousarray(hr)).resize(small, Image.Resampling.BICUBIC)
    return np.array(lr), np.ascontiguousarray(hr)


def bicubic(scale: int) -> Method:
    """The interpolated picture, in float: the protocol's bicubic row."""
    return lambda lr, stem: upscale(to_tensor(lr), scale)


def deployed(runner: Runner, scale: int) -> Method:
    """What kd-enhance would write."""
    return lambda lr, stem: enhance(runner, lr, scale)


def stored(folder: Path) -> Method:
    """Outputs that lie in a folder under the pictures' names; None where one is missing."""

    def method(lr: np.ndarray, stem: str) -> np.ndarray | None:
        files = [p for p in folder.glob(f"{stem}.*") if p.suffix.lower() in READABLE]
        return read_image(files[0], str(files[0])).pixels if files else None

    return method


def teacher_folder(hr_folder: Path) -> Path | None:
    """The sibling with a teacher's outputs: valid_HR -> valid_teacher, if it exists."""
    folder = sibling(hr_folder, "_teacher")
    return folder if folder and folder.is_dir() else None


@torch.inference_mode()
def score_set(
    files: list[Path],
    methods: Mapping[str, Method],
    scale: int,
    exact: Mapping[str, str] | None = None,
) -> Scores:
    """Means over the pictures of ssim_rgb, psnr_y and ssim_y for each method, and
    "gap_closed": the share of the way from bicubic to the last teacher in psnr_y.

    Args:
        exact: method -> an earlier method of more precision; "levels_from_fp32" is then the
            largest difference of the two in any 8-bit value.
    """
    sums: dict[str, dict[str, list[float]]] = {name: {} for name in methods}
    levels: dict[str, float] = {}
    for path in files:
        lr, hr = read_pair(path, scale)
        truth = to_tensor(hr)
        outputs: dict[str, Tensor] = {}
        for name, method in methods.items():
            sr = method(lr, path.stem)
            if sr is None:
                continue
            outputs[name] = to_tensor(sr)
            values = quality.scores(outputs[name], truth, scale)
            for metric, value in values.items():
                sums[name].setdefault(metric, []).append(float(value))
            if exact and name in exact:
                apart = (outputs[name] - outputs[exact[name]]).abs().max() * 255
                levels[name] = max(levels.get(name, 0.0), float(apart.round()))
    means = {
        name: {metric: sum(values) / len(values) for metric, values in metrics.items()}
        for name, metrics in sums.items()
        if len(metrics.get("psnr_y", [])) == len(files)
    }
    for name, most in levels.items():
        means[name]["levels_from_fp32"] = most
    teacher = next((name for name in reversed(means) if "teacher" in name), None)
    if teacher and "bicubic" in means:
        low, high = means["bicubic"]["psnr_y"], means[teacher]["psnr_y"]
        for metrics in means.values():
            metrics["gap_closed"] = (metrics["psnr_y"] - low) / (high - low)
    return means


def to_tensor(image: np.ndarray | Tensor) -> Tensor:
    """HWC uint8 to (1,3,H,W) float in [0, 1]; a tensor stays as it is."""
    if isinstance(image, Tensor):
        return image
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
