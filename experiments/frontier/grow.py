"""Start a StudentDirect from a trained student: wider or deeper, it computes nearly the same.

python experiments/frontier/grow.py SOURCE TARGET [--width W] [--depth D] [--photos FOLDER]

SOURCE is a shipped name or an artifact, of a StudentDirect or of a StudentFast with ReLU; TARGET is
the artifact to write, for `init_from=TARGET`. The first layer of a StudentFast read an interpolated
image: its successor, 3x3 on the LR image and blind to flat areas, is the least-squares fit of what
it answers to photographs. Further layers are identities, which a ReLU before them leaves exact;
further channels start at random and are not read yet (Chen et al. 2016, "Net2Net: Accelerating
Learning via Knowledge Transfer").
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.imageio.folders import list_folder
from kd_lightning.imageio.images import read_image
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.interpolate import downscale, upscale
from kd_lightning.models.network import fuse
from kd_lightning.models.pretrained import find_weights
from kd_lightning.models.students import StudentDirect, StudentFast

SIDE = 256  # pixels of the crop from the middle of each photograph


@torch.no_grad()
def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("target", type=Path)
    parser.add_argument("--width", type=int, default=0)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos/train_HR"))
    given = parser.parse_args()
    network, metadata = load_artifact(find_weights(given.source))
    assert isinstance(network, (StudentFast, StudentDirect))
    plain = fuse(network)
    layers = [layer for layer in plain.body if isinstance(layer, nn.Conv2d)]
    arguments = {
        "scale": plain.scale,
        "width": given.width or layers[0].out_channels,
        "depth": given.depth or len(layers),
    }
    torch.manual_seed(0)
    student = StudentDirect(**arguments)
    places = [layer for layer in student.body if isinstance(layer, nn.Conv2d)]
    if not network.takes_lr:
        layers[0] = first_layer(layers[0], examples(given.photos, plain.scale), plain.scale)
    for place, layer in zip(places, deepened(layers, arguments["depth"]), strict=True):
        grow(place, layer)
    facts = {"grown_from": given.source, "degradation": metadata.get("degradation")}
    save_artifact(given.target, student, arguments, facts)


def examples(folder: Path, scale: int) -> list[Tensor]:
    """(1,3,h,w) float LR images in [0, 1], from the middles of photographs."""
    found = []
    for file in list_folder(folder)[0]:
        pixels = torch.from_numpy(read_image(file, str(file)).pixels)
        top, left = ((side - SIDE) // 2 for side in pixels.shape[:2])
        crop = pixels[top : top + SIDE, left : left + SIDE].permute(2, 0, 1)[None]
        found.append(downscale(crop.contiguous(), scale).float() / 255)
    return found


def first_layer(plain: nn.Conv2d, images: list[Tensor], scale: int) -> nn.Conv2d:
    """A 3x3 convolution of the LR image whose answers are nearest to those of `plain` to the
    interpolated and unshuffled one, among those that sum to zero over each colour."""
    asked, answers = [], []
    for lr in images:
        blocks = F.pixel_unshuffle(upscale(lr, scale).clamp(0, 1), scale)
        answer = F.conv2d(blocks, plain.weight, padding=1)[..., 2:-2, 2:-2]
        patches = F.unfold(lr, 3).view(3, 9, lr.shape[-2] - 2, lr.shape[-1] - 2)
        differences = (patches - patches[:, 4:5])[..., 1:-1, 1:-1]  # of the taps to the middle one
        asked.append(differences.flatten(0, 1).flatten(1).T)
        answers.append(answer[0].flatten(1).T)
    found = torch.linalg.lstsq(
        torch.cat(asked).double(), torch.cat(answers).double(), driver="gelsd"
    )
    taps = found.solution.T.view(-1, 3, 9)
    taps[..., 4] = 0
    taps[..., 4] = -taps.sum(dim=2)
    layer = nn.Conv2d(3, plain.out_channels, 3, padding=1)
    layer.weight.copy_(taps.view(-1, 3, 3, 3))
    layer.bias.copy_(cast(Tensor, plain.bias))
    return layer


def deepened(layers: list[nn.Conv2d], depth: int) -> list[nn.Conv2d]:
    """`layers` with identities before the last one."""
    width = layers[-1].in_channels
    further = []
    for _ in range(depth - len(layers)):
        same = nn.Conv2d(width, width, 3, padding=1)
        nn.init.dirac_(same.weight)
        nn.init.zeros_(cast(Tensor, same.bias))
        further.append(same)
    return [*layers[:-1], *further, layers[-1]]


def grow(place: nn.Conv2d, layer: nn.Conv2d) -> None:
    """Copy `layer` into the larger `place`, whose further inputs are not read."""
    fan_out, fan_in = layer.weight.shape[:2]
    place.weight[:fan_out].zero_()
    place.weight[:fan_out, :fan_in] = layer.weight
    cast(Tensor, place.bias)[:fan_out] = cast(Tensor, layer.bias)


if __name__ == "__main__":
    main()
