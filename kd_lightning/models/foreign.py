"""Teachers that other packages implement: basicsr's SwinIR, and whatever spandrel knows.

The packages come with the extras ``basicsr`` and ``spandrel`` and are imported on use.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from kd_lightning.compat import import_basicsr, patch_torchvision
from kd_lightning.errors import UserError
from kd_lightning.models.checkpoint import read_state, swinir_arguments
from kd_lightning.models.swinir import DERIVED_BUFFERS, mirror_to_multiple


class Padded(nn.Module):
    """Gives ``network`` the sizes that it can take: mirrored to a multiple, cropped after.

    ``forward``: float (B, 3, h, w) in [0, 1] -> (B, 3, h*scale, w*scale), not clamped.
    """

    takes_lr = True

    def __init__(self, network: nn.Module, scale: int, multiple: int = 1, minimum: int = 1) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.multiple_of = multiple
        self.minimum = -(-minimum // multiple) * multiple

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = mirror_to_multiple(x, self.multiple_of, self.minimum)
        return self.network(x)[..., : height * self.scale, : width * self.scale]


def load_basicsr_swinir(path: Path, scale: int) -> Padded:
    """basicsr's SwinIR with the weights at ``path`` (.pth of a BasicSR training, .safetensors).

    Raises:
        UserError: basicsr is not installed; the weights are of another architecture or scale.
    """
    import_basicsr()
    from basicsr.archs.swinir_arch import SwinIR

    state = read_state(path)
    arguments = swinir_arguments(state, path)
    _check_scale(path, arguments["upscale"], scale)
    window = arguments["window_size"]
    network = SwinIR(img_size=8 * window, **arguments)
    # Its own buffers stay: those in the file are for the image size of its training.
    own = {name: value for name, value in network.state_dict().items() if _derived(name)}
    given = {name: value for name, value in state.items() if not _derived(name)}
    try:
        network.load_state_dict({**own, **given}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: almost a SwinIR, but: {reason}") from error
    return Padded(network, scale, window, window)


def load_spandrel(path: Path, scale: int) -> Padded:
    """Any network that spandrel tells from its state dict (HAT, DAT, RCAN, ...).

    Raises:
        UserError: spandrel is not installed, does not know the weights, or they are not for RGB
            images or not for this scale.
    """
    patch_torchvision()
    try:
        import spandrel
    except ImportError as error:
        raise UserError(
            f"spandrel cannot be imported ({error}): install the extra, pip install "
            "'kd_lightning[spandrel]' -c constraints.txt"
        ) from error
    try:
        found = spandrel.ModelLoader().load_from_state_dict(read_state(path))
    except (spandrel.UnsupportedModelError, KeyError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise UserError(f"{path}: spandrel knows no such architecture ({reason})") from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.input_channels != 3:
        raise UserError(f"{path}: {found.architecture.name} does not map an RGB image to another")
    _check_scale(path, found.scale, scale)
    needs = found.size_requirements
    return Padded(found.model, scale, needs.multiple_of or 1, needs.minimum or 1)


def _check_scale(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise UserError(
            f"{path}: weights for scale {found}, expected scale {expected}; give other weights, "
            f"or set scale={found}"
        )


def _derived(name: str) -> bool:
    return name.rpartition(".")[2] in DERIVED_BUFFERS
