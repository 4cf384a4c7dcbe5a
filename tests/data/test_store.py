"""The journal of a killed run gives back every entry, whatever its name."""

from pathlib import Path

import numpy as np
import pytest

from kd_lightning.data.store import ArrayStore, Origin
from tests.data.small_data import picture


@pytest.mark.parametrize("stem", ["line\u2028separator", "next\x85line", "new\nline", "a\x1cb"])
def test_a_name_with_any_line_break_survives_a_kill(tmp_path: Path, stem: str) -> None:
    store = ArrayStore(tmp_path, {})
    store.put("first", picture(9, 9, 1), Origin("first.png", 1, 2, "0" * 64))
    store.put(stem, picture(9, 9, 2), Origin(f"{stem}.png", 1, 2, "0" * 64))
    again = ArrayStore(tmp_path, {})
    assert list(again.entries) == ["first", stem]
    np.testing.assert_array_equal(again.stored(stem).read(), picture(9, 9, 2))
