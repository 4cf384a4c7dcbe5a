"""HR to LR: what a network learns to undo. One class a file, one yaml each in conf/degradation.

A degradation is any object with

- `key`: a text without "/" that names the folder of what it makes; whatever changes an output
  changes it (`settings_key` makes one);
- `__call__(hr, rng)`: uint8 (H, W, 3) to uint8 (H/scale, W/scale, 3), both NumPy arrays; `hr` stays
  as it is, and every random number is drawn from `rng`, a `numpy.random.Generator`;

and, where the defaults do not fit,

- `versions` (1): how many versions of each training image are made, each with numbers of its own;
- `seed` (0, and no less): of those numbers, with the image's stem and the version's number:
  whatever else is made, where or in which order, an image's version stays the same;
- `clean` (False): true where a teacher that reads clean images reads these LR images; others have
  bicubic ones beside theirs for the teacher;
- `files(hr_folder)`: the folder of LR files that lies beside the HR images, or None to make them.
"""

import hashlib
import json
from typing import Any, Protocol

import numpy as np

from kd_lightning.data.degradations.settings import whole
from kd_lightning.errors import SettingError, UserError
from kd_lightning.imageio.strict import Pixels


class Degradation(Protocol):
    """What every degradation has; see the package's docstring for what it may have besides."""

    @property
    def key(self) -> str: ...

    def __call__(self, hr: Pixels, rng: np.random.Generator) -> Pixels: ...


def check_degradation(degradation: Any) -> None:
    """Raises UserError where `degradation` lacks what every one has, or has it of another type."""
    name = f"degradation: {class_name(degradation)}"
    try:
        key = degradation.key
    except AttributeError as error:
        raise UserError(f"{name} has no key ({error}); give it one, of all its settings") from error
    if not isinstance(key, str) or not key or "/" in key:
        raise UserError(f"{name} has the key {key!r}: make it a text that can name a folder")
    if not callable(degradation):
        raise UserError(f"{name} cannot be called: give it __call__(hr, rng)")
    for setting, least in (("versions", 1), ("seed", 0)):
        try:
            whole(setting, getattr(degradation, setting, least), least)
        except SettingError as error:
            raise UserError(f"{name} has {error}") from None


def class_name(thing: Any) -> str:
    """With its module, as `_target_` names it."""
    kind = type(thing)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def settings_key(name: str, settings: dict[str, Any]) -> str:
    """`name` and a hash of `settings` (anything JSON can hold)."""
    text = json.dumps(settings, sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def version_rng(seed: int, stem: str, version: int) -> np.random.Generator:
    """The random numbers of one version of one image: a function of the arguments alone."""
    digest = hashlib.sha256(f"{seed}/{version}/{stem}".encode()).digest()
    key = np.frombuffer(digest[:16], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
