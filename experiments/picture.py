"""Make docs/comparison.png from the shipped weights and a photograph that none of them saw."""

from pathlib import Path

import skimage.data
import torch

from kd_lightning import quality
from kd_lightning.files import SHIPPED_WEIGHTS
from kd_lightning.imageio import comparison as pictures
from kd_lightning.models.artifact import load_artifact
from kd_lightning.models.interpolate import downscale, super_resolve, upscale


@torch.no_grad()
def main() -> None:
    photo = skimage.data.astronaut()  # NASA, public domain
    hr = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
    lr = quality.to_8bit(downscale(hr, 2))
    columns = {"lr": lr, "bicubic": upscale(lr, 2)}
    for caption, name in (("student", "student_fast"), ("teacher (bundled)", "swinir_small")):
        network, _ = load_artifact(SHIPPED_WEIGHTS / f"{name}.safetensors")
        columns[caption] = super_resolve(network, lr)
    columns["hr"] = hr
    images = {caption: image[0] for caption, image in columns.items()}
    picture = pictures.comparison(images, hr[0], columns["bicubic"][0])
    pictures.save(picture, Path(__file__).parents[1] / "docs" / "comparison.png")


if __name__ == "__main__":
    main()
