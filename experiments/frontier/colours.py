"""Whether a student of luma alone gets better colours where its detail is shared out otherwise.

`python experiments/frontier/colours.py --data ../shared/data`, from the repository's root, restores
the photographs of `valid` by student_luma and gives its detail to red, green and blue: the same to
each, as it ships; in the ratio of the interpolated colours; by the local regression of each colour
on luma in the LR image (the guided filter of He et al. 2013, "Guided Image Filtering", eq. 5 and 6,
with a prior that all are alike); and with the original's own colours, which is the limit. All leave
luma as it is, but for rounding. Writes colours.json here: means of the protocol's scores.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kd_lightning.files import write_json
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.pretrained import find_weights
from kd_lightning.models.students import LUMA
from kd_lightning.quality import scores

RADII = 1, 2  # LR pixels
PRIORS = 1e-4, 3e-4, 1e-3, 3e-3  # variance of luma, of [0, 1], from which on the regression counts


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def luma(image: Tensor) -> Tensor:
    return (image * image.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def mean(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)


def slopes(lr: Tensor, radius: int, prior: float) -> Tensor:
    """Of each colour on luma, (B,3,2h,2w)."""
    y = luma(lr)
    variance = mean(y * y, radius) - mean(y, radius) ** 2
    covariance = mean(lr * y, radius) - mean(lr, radius) * mean(y, radius)
    return F.interpolate((covariance + prior) / (variance + prior), scale_factor=2, mode="bilinear")


def shared_out(hr: Tensor, lr: Tensor, sr: Tensor) -> dict[str, Tensor]:
    bicubic = upscale(lr, 2).clamp(0, 1)
    detail = luma(sr - bicubic)
    return {
        "the same to each": sr,
        "in ratio": bicubic * (1 + detail / luma(bicubic).clamp(min=0.02)),
        **{
            f"by regression, radius {radius}, prior {prior}": bicubic
            + slopes(lr, radius, prior) * detail
            for radius in RADII
            for prior in PRIORS
        },
        "with the original's colours": hr - luma(hr) + luma(bicubic) + detail,
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="has photos/valid_HR")
    network, _ = load_artifact(find_weights("student_luma"))
    found: dict[str, list[dict[str, float]]] = {}
    for path in sorted((parser.parse_args().data / "photos" / "valid_HR").glob("*.png")):
        image = Image.open(path).convert("RGB")
        image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
        hr, lr = to_tensor(image), to_tensor(small)
        for way, sr in shared_out(hr, lr, network(lr)).items():
            row = {name: float(score) for name, score in scores(sr, hr, 2).items()}
            found.setdefault(way, []).append(row)
    means = {
        way: {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}
        for way, rows in found.items()
    }
    for way, row in means.items():
        print(f"{way:<40}", *(f"{name} {value:.4f}" for name, value in row.items()))
    write_json(Path(__file__).with_suffix(".json"), means)


if __name__ == "__main__":
    main()
