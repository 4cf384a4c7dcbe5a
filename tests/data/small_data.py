"""What the data tests make their folders of."""

import numpy as np
from PIL import Image


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth picture with some noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-9, 10, (height, width, 3))
    return np.clip(np.array(smooth, int) + noise, 0, 255).astype(np.uint8)
