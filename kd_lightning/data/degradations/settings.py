"""What the settings of a degradation may be: each function returns what it was given, or names it.

All raise `SettingError`, whose message begins with the setting's name.
"""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from kd_lightning.errors import SettingError


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    if not _is_number(value, Integral) or value < least:
        raise SettingError(f"{name}={value}: give a whole number of at least {least}")
    return int(value)


def share(name: str, value: Any) -> Any:
    """A number from 0 to 1, as it is given: in a key, 0 and 0.0 differ."""
    if not _is_number(value, Real) or not 0 <= value <= 1:
        raise SettingError(f"{name}={value}: give a number from 0 to 1")
    return value


def span(name: str, value: Any, least: float, most: float = math.inf) -> tuple[float, float]:
    """The lowest and the highest of the numbers that are drawn, all from `least` to `most`."""
    low, high = _ends(name, value, "numbers", Real, least, most)
    return float(low), float(high)


def whole_span(name: str, value: Any, least: int, most: int) -> tuple[int, int]:
    """As `span`, of whole numbers."""
    low, high = _ends(name, value, "whole numbers", Integral, least, most)
    return int(low), int(high)


def weights(name: str, value: Any, known: Iterable[str]) -> dict[str, Any]:
    """How often each of some of the `known` names is drawn, in their order, which a key leaves out
    and a draw depends on."""
    known = list(known)
    given = dict(value) if isinstance(value, Mapping) else {}
    for kind, weight in given.items():
        if kind not in known:
            raise SettingError(f"{name}.{kind}: there is none; there are {', '.join(known)}")
        if not _is_number(weight, Real) or weight < 0:
            raise SettingError(f"{name}.{kind}={weight}: give a number of at least 0")
    if not any(given.values()):
        raise SettingError(f"{name}={value}: give one of {', '.join(known)} more than 0")
    return {kind: given[kind] for kind in known if kind in given}


def part(name: str, value: Any, method: str) -> Any:
    """An object that has `method`."""
    if not callable(getattr(value, method, None)):
        raise SettingError(f"{name}: {type(value).__name__} has no method {method}")
    return value


def _ends(name: str, value: Any, words: str, kind: Any, least: float, most: float) -> list[Any]:
    ends = list(value) if isinstance(value, Iterable) else []
    fits = len(ends) == 2 and all(_is_number(end, kind) for end in ends)
    if not fits or not least <= ends[0] <= ends[1] <= most:
        limits = f"from {least} to {most}" if most < math.inf else f"of at least {least}"
        raise SettingError(f"{name}={value}: give two {words} {limits}, the lower one first")
    return ends


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
