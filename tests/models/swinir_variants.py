"""Small SwinIRs of every variant, with weights large enough that each part shows in the output."""

import torch
from torch import nn

from kd_lightning.models.swin import relative_positions

LIGHT = {
    "upscale": 2,
    "embed_dim": 60,
    "depths": [6, 6, 6, 6],
    "num_heads": [6, 6, 6, 6],
    "window_size": 8,
    "mlp_ratio": 2,
    "upsampler": "pixelshuffledirect",
    "resi_connection": "1conv",
    "img_range": 1.0,
}
MEDIUM = {
    **LIGHT,
    "embed_dim": 180,
    "depths": [2] * 2,
    "num_heads": [6] * 2,
    "upsampler": "pixelshuffle",
}
# The released models: lightweight, classical M, real-world M and L, denoising, JPEG artefacts.
# Those of the M and L kind have 2 groups of 2 layers here, in place of 6 or 9 of 6.
VARIANTS = {
    "light_x2": LIGHT,
    "medium_x2": MEDIUM,
    "medium_x4": {**MEDIUM, "upscale": 4},
    "real_x4": {**MEDIUM, "upscale": 4, "upsampler": "nearest+conv"},
    "real_large_x4": {
        **MEDIUM,
        "upscale": 4,
        "embed_dim": 240,
        "num_heads": [8] * 2,
        "upsampler": "nearest+conv",
        "resi_connection": "3conv",
    },
    "denoise": {**MEDIUM, "upscale": 1, "upsampler": ""},
    "jpeg": {**MEDIUM, "upscale": 1, "upsampler": "", "window_size": 7, "img_range": 255.0},
}
TINY = {**LIGHT, "embed_dim": 12, "depths": [2, 3], "num_heads": [2, 3]}


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fresh networks have zero biases and faint attention, which would hide errors there."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("relative_position_bias_table"):
                parameter.copy_(noise / 2)
            elif parameter.dim() == 1:
                parameter.add_(noise / 10)
            elif parameter.dim() == 4:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
    return network.eval()


def official(network, window):
    """The state dict as the official release writes it: with its two buffers."""
    state = dict(network.state_dict())
    for name in list(state):
        if name.endswith("attn.qkv.weight"):
            prefix = name.removesuffix("attn.qkv.weight")
            state[prefix + "attn.relative_position_index"] = relative_positions(window)
            if int(prefix.split(".")[-2]) % 2 == 1:
                state[prefix + "attn_mask"] = torch.zeros(64, window**2, window**2)
    return state
