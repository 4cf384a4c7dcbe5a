"""The interface for programs: `Enhancer`."""

import copy
import os
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kd_lightning.deploy.backends.backend import Precision, Runner
from kd_lightning.deploy.backends.select import open_weights
from kd_lightning.deploy.enhance import (
    enhance,
    enhance_frames,
    enhance_tensor,
    refuse_empty,
    untrained_scale,
)
from kd_lightning.errors import UserError
from kd_lightning.imageio.images import ImageData, from_pillow, to_pillow
from kd_lightning.models.pretrained import default_weights, find_weights


class Enhancer:
    """Restores images with a distilled student.

        from PIL import Image
        from kd_lightning import Enhancer

        Enhancer("student_fast")(Image.open("in.png")).save("out.png")

    What goes in comes out, `scale` times larger: a Pillow image, an array or a tensor. Images of
    any size are cut into tiles, which leaves no trace. On the CPU several threads may share one
    Enhancer: each gets its own result, and with OpenVINO, which has all cores busy with one image,
    their calls take turns. A process that is sent it opens the weights anew, and so does a
    forked one, on one thread. Where the class of the network is a user's own, the program imports
    it before.

    Args:
        weights: name of a student of the package (`shipped_students`), or a file: an artifact
            (.safetensors), an ONNX or OpenVINO export; None: student_fast, or call_fast_x1 for
            scale 1.
        backend: auto (the fastest installed), torch, openvino, onnx or ncnn.
        device: auto, cpu or cuda.
        precision: auto (bf16 or fp16 where the device multiplies it), fp32, bf16 or fp16.
        scale: output pixels per input pixel; None for the weights' own. Others draw a warning:
            the weights were not trained for them.
        tile: side of a tile in the network's input, in pixels, at least 1; None for the backend's.

    Attributes:
        name: of the weights; of a file, its name without the ending.
        scale: output pixels per input pixel.

    Raises:
        UserError: weights, backend, device, precision, scale or tile cannot be had; the message
            names the remedy.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: Precision = "auto",
        scale: int | None = None,
        tile: int | None = None,
    ) -> None:
        for name, number in (("scale", scale), ("tile", tile)):
            whole = isinstance(number, Integral) and not isinstance(number, bool)
            if number is not None and (not whole or number < 1):
                raise UserError(f"{name}={number}: give a whole number of at least 1, or None")
        path = find_weights(str(weights or default_weights(scale))).resolve()
        how: dict[str, Any] = {"backend": backend, "device": device, "precision": precision}
        self._again = partial(type(self), path, **how)
        self._open = partial(open_weights, path, **how)
        self._runners = {os.getpid(): self._open()}
        self.scale = self.runner.scale if scale is None else scale
        self.tile, self.name = tile, path.stem
        if self.runner.takes_lr and self.scale != self.runner.scale:
            raise UserError(f"scale={scale}: these weights only enlarge by {self.runner.scale}")
        if warning := untrained_scale(self.runner, self.scale):
            warnings.warn(warning, stacklevel=2)

    @property
    def runner(self) -> Runner:
        """What runs the network in this process: the threads of engines do not outlive a fork."""
        process = os.getpid()
        if process not in self._runners:  # the parent's stays, for it cannot be taken down here
            torch.set_num_threads(1)  # else torch waits for its own, as in loader workers
            self._runners[process] = self._open()
        return self._runners[process]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the weights' file says of them: `scale`, `degradation` (the key of what they undo),
        `metrics`, `architecture`, ... as far as its writer has stated it."""
        return copy.deepcopy(dict(self.runner.metadata))

    def __repr__(self) -> str:
        stated = (self.name, self.scale, self.runner.degradation, self.runner.name)
        return "Enhancer({!r}, scale={}, degradation={!r}, runner={!r})".format(*stated)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(self._again, scale=self.scale, tile=self.tile), ()

    @overload
    def __call__(self, image: Image.Image) -> Image.Image: ...
    @overload
    def __call__(self, image: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, image: Tensor) -> Tensor: ...
    def __call__(self, image: Any) -> Any:
        """One image.

        Args:
            image: a Pillow image (kept: grey, RGB, both with alpha, 16-bit grey; a transparent
                colour becomes alpha; other modes become RGB or RGBA, but I and F, whose white is
                not known unless it is a PGM's, are refused); an array (H,W) or (H,W,C) of uint8 or
                uint16, in any order of bytes, with 1 to 4 channels; or a float tensor (3,H,W) or
                (B,3,H,W) in [0, 1].

        Returns:
            The same kind: image of the same mode, turned as its Exif asks, with what its `info`
            had of an ICC profile that fits the mode and of Exif that describes the scene; array
            of the same dtype; tensor of the same dtype on the same device, in [0, 1].

        Raises:
            UserError: none of these.
        """
        if isinstance(image, Image.Image):
            return self._pillow(image)
        if isinstance(image, Tensor):
            return self._tensor(image)
        if isinstance(image, np.ndarray):
            return self._array(image)
        raise UserError(f"{type(image).__name__}: give a Pillow image, an array or a tensor")

    def frames(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames of a video or camera, one after the other, faster than one call for each.

        Args:
            frames: (h,w,3) uint8, RGB, of one size.

        Yields:
            (h*scale,w*scale,3) uint8; copy it to keep it, the next one may overwrite it.

        Raises:
            UserError: a frame is of another kind or size than that.
        """
        return enhance_frames(self.runner, frames, self.scale, self.tile)

    def _pillow(self, image: Image.Image) -> Image.Image:
        refuse_empty((image.height, image.width))
        small = from_pillow(image)
        large = enhance(self.runner, small.pixels, self.scale, self.tile)
        return to_pillow(ImageData(large, small.metadata))

    def _array(self, pixels: np.ndarray) -> np.ndarray:
        image = pixels[..., None] if pixels.ndim == 2 else pixels
        kind = image.dtype.newbyteorder("=")
        if kind not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] > 4:
            raise UserError(
                f"{pixels.dtype} array {pixels.shape}: give (height, width) or (height, width, 1 "
                "to 4 channels) of uint8 or uint16"
            )
        refuse_empty(image.shape)
        out = enhance(self.runner, np.array(image, kind), self.scale, self.tile)
        out = out.astype(pixels.dtype, copy=False)
        return out[..., 0] if pixels.ndim == 2 else out

    def _tensor(self, image: Tensor) -> Tensor:
        if not image.is_floating_point() or image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise UserError(
                f"{image.dtype} tensor {tuple(image.shape)}: give (3, height, width) or (batch, 3, "
                "height, width) of a float dtype, in [0, 1]"
            )
        refuse_empty(image.shape)
        batch = image if image.ndim == 4 else image[None]
        out = enhance_tensor(self.runner, batch, self.scale, self.tile)
        return out if image.ndim == 4 else out[0]
