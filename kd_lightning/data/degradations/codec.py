"""Clips through a video codec, by PyAV (extra `video`): one encoder and one decoder, in one thread.

Conversions to and from YUV are `kd_lightning.yuv`'s; the codec gets and gives planes.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from kd_lightning.data.degradations import camera, settings_key
from kd_lightning.data.degradations.resizing import shrink
from kd_lightning.errors import UserError
from kd_lightning.imageio.strict import Pixels
from kd_lightning.yuv import Yuv, matrix_of_size, read_planes, rgb_to_yuv, write_planes, yuv_to_rgb

RATE = 30  # frames a second, for bitrates
BITS = (0.001, 24)  # fewest and most per pixel and frame; 24: as many as uncoded RGB has


def pyav() -> types.ModuleType:
    """The module `av`. Raises UserError where it is not installed."""
    try:
        import av
    except ImportError:
        raise UserError(
            "degradations of a video codec need PyAV: pip install 'kd_lightning[video]'"
        ) from None
    module: types.ModuleType = av
    return module


def codec_key(name: str, encoder: str, settings: Mapping[str, Any]) -> str:
    """The key of a codec's degradation: its settings, the encoder, the libraries' versions and the
    camera's. Raises UserError without PyAV."""
    av = pyav()
    library = {"pyav": av.__version__, "libavcodec": av.library_versions["libavcodec"]}
    return settings_key(name, {**settings, **library, "encoder": encoder, "camera": camera.VERSION})


def filmed(hr: Pixels, scale: int, longest: int, rng: np.random.Generator) -> list[Pixels]:
    """1 to `longest` LR frames, the last of them `hr` shrunk by `scale`: any position in a group of
    pictures, since in real time nothing that comes after a frame changes it."""
    frames = camera.film(hr, int(rng.integers(1, longest + 1)), scale, rng)
    small: list[Pixels] = []
    for number, frame in enumerate(frames):
        at_rest = number > 0 and frame is frames[number - 1]
        small.append(small[-1] if at_rest else shrink(frame, scale))
    return small


class Coded(NamedTuple):
    """A clip behind a codec: the decoded 4:2:0 `planes` of each frame, of a clip of this `height`
    and `width`, and the `size` of the stream in bytes."""

    planes: list[Yuv]
    height: int
    width: int
    size: int

    def image(self, number: int) -> Pixels:
        """Frame `number` as a receiver sees it, uint8 (height, width, 3)."""
        rgb = yuv_to_rgb(self.planes[number], matrix_of_size(self.height))
        return rgb[: self.height, : self.width]


def code(frames: Sequence[Pixels], encoder: str, options: Mapping[str, str]) -> Coded:
    """`frames`, uint8 (H, W, 3) of one size, coded and decoded.

    4:2:0, limited range, BT.601 up to 576 lines and BT.709 above. Odd sides are made even by
    repeating the last row and column, which are cut off again.

    Args:
        encoder: "libx264", "libvpx" or "libvpx-vp9".
        options: of the encoder, in FFmpeg's words; without lookahead and B frames.

    Raises:
        UserError: PyAV is not installed.
    """
    av = pyav()
    height, width = frames[0].shape[:2]
    matrix = matrix_of_size(height)
    writer = av.CodecContext.create(encoder, "w")
    writer.width, writer.height = width + width % 2, height + height % 2
    writer.pix_fmt, writer.thread_count = "yuv420p", 1
    writer.time_base, writer.framerate = Fraction(1, RATE), Fraction(RATE)
    writer.options = dict(options)
    reader = av.CodecContext.create(DECODERS[encoder], "r")
    reader.thread_count = 1
    decoded: list[Any] = []
    size = 0
    for number, frame in enumerate(frames):
        if number == 0 or frame is not frames[number - 1]:
            planes = rgb_to_yuv(_even(frame), matrix)
        image = av.VideoFrame(writer.width, writer.height, "yuv420p")
        write_planes(planes, image)
        image.pts = number
        for packet in writer.encode(image):
            size += packet.size
            decoded += reader.decode(packet)
    for packet in writer.encode(None):
        size += packet.size
        decoded += reader.decode(packet)
    decoded += reader.decode(None)
    assert len(decoded) == len(frames), f"{encoder} dropped frames"
    return Coded([read_planes(image) for image in decoded], height, width, size)


def last_frame(frames: Sequence[Pixels], encoder: str, options: Mapping[str, str]) -> Pixels:
    """The last of `frames` behind a codec, see `code`."""
    return code(frames, encoder, options).image(-1)


DECODERS = {"libx264": "h264", "libvpx": "vp8", "libvpx-vp9": "vp9"}


def _even(frame: Pixels) -> Pixels:
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
