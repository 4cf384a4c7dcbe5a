"""A still photograph as a clip: what a camera that moves would have seen before it.

The last frame is the photograph itself, bit for bit; only the frames before it are moved away. So
what a codec makes of the last frame, the photograph, and a teacher's output for it lie on each
other to the pixel, and no frame that matters was interpolated.
"""

import numpy as np
from PIL import Image
from PIL.Image import Resampling, Transform

from kd_lightning.imageio.strict import Pixels

REST = 0.3  # share of clips whose camera stands still
TURNING = 0.4  # share of the moving cameras that zoom and turn too
MOVING_PART = 0.4  # share of clips in which an oval part of the image moves on its own
SLOWEST, FASTEST = 0.1, 6.0  # LR pixels a frame, of a pan or a part; even on a log scale
ZOOM = 0.006  # largest change of size a frame, as a share
TURN = 0.004  # largest turn a frame, radians
PART = (0.25, 0.6)  # smallest and largest side of a moving part, as a share of the image's
VERSION = 1  # of this camera; raise it with any change here: it is part of the keys

Pose = tuple[float, float, float, float, float, float]  # (a, b, c, d, e, f) of Pillow's AFFINE


def film(photo: Pixels, frames: int, scale: int, rng: np.random.Generator) -> list[Pixels]:
    """`frames` images of the size of `photo` (H, W, 3), the last of them `photo` itself.

    What moves, moves evenly: the camera (rest, pan, zoom and turn) and in some clips a part of the
    image before it. Borders are mirrored. `scale` is HR pixels per LR pixel, for the speeds.
    """
    height, width = photo.shape[:2]
    rests, turns, has_part = rng.random(3) < (REST, TURNING, MOVING_PART)
    pan, part = _velocity(rng, scale), _velocity(rng, scale)
    zoom, turn = rng.uniform(-ZOOM, ZOOM), rng.uniform(-TURN, TURN)
    oval = _oval(height, width, rng)
    if rests:
        pan = (0.0, 0.0)
    if rests or not turns:
        zoom = turn = 0.0
    if rests and not has_part:
        return [photo] * frames
    before = range(frames - 1, 0, -1)  # frames until the last one
    poses = [_pose(k * pan[0], k * pan[1], k * zoom, k * turn, height, width) for k in before]
    views = [Image.fromarray(photo)] * len(poses) if rests else _views(photo, poses)
    if has_part:
        photo_image = Image.fromarray(photo)
        for n, k in enumerate(before):
            moved = _pose(k * part[0], k * part[1], 0, 0, height, width)
            views[n] = Image.composite(_view(photo_image, moved), views[n], _view(oval, moved))
    return [*(np.array(view) for view in views), photo]


def _velocity(rng: np.random.Generator, scale: int) -> tuple[float, float]:
    """In HR pixels a frame: x, y."""
    speed = scale * np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST)))
    angle = rng.uniform(0, 2 * np.pi)
    return float(speed * np.cos(angle)), float(speed * np.sin(angle))


def _pose(x: float, y: float, zoom: float, turn: float, height: int, width: int) -> Pose:
    """Where each pixel of a frame lies in the photograph: turned and enlarged about the centre by
    `turn` radians and e^`zoom`, then shifted by `x`, `y` pixels."""
    a, b = np.exp(zoom) * np.cos(turn), np.exp(zoom) * np.sin(turn)
    cx, cy = width / 2, height / 2
    return (a, -b, x + cx - a * cx + b * cy, b, a, y + cy - b * cx - a * cy)


def _views(photo: Pixels, poses: list[Pose]) -> list[Image.Image]:
    """`photo` in each of `poses`, mirrored at its borders as far as any of them sees."""
    height, width = photo.shape[:2]
    corners = np.array([(0, width, 0, width), (0, 0, height, height), (1, 1, 1, 1)], float)
    seen = np.reshape(poses, (-1, 2, 3)) @ corners
    outside = np.maximum(-seen, seen - np.array([width, height])[:, None])
    margin = int(np.ceil(np.max(outside, initial=0.0))) + 3  # the kernel sees two pixels further
    mirrored = np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    image = Image.fromarray(mirrored)
    moved = [(a, b, c + margin, d, e, f + margin) for a, b, c, d, e, f in poses]
    return [_view(image, pose, (width, height)) for pose in moved]


def _view(image: Image.Image, pose: Pose, size: tuple[int, int] | None = None) -> Image.Image:
    return image.transform(size or image.size, Transform.AFFINE, pose, Resampling.BICUBIC)


def _oval(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """A mask (mode L): an oval of drawn place and size, its edge 5 % of it soft."""
    sides = rng.uniform(*PART, 2) / 2
    y0, x0 = rng.uniform(sides, 1 - sides)
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - y0) / sides[0]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - x0) / sides[1]
    distance = np.sqrt(y[:, None] ** 2 + x**2)
    return Image.fromarray((255 * np.clip((1 - distance) / 0.05, 0, 1)).astype(np.uint8))
