"""Read everything that was stored and drop what is not as it was written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kd_lightning.data.prepare import in_parallel, locked
from kd_lightning.data.store import ArrayStore
from kd_lightning.data.triplets import Triplets
from kd_lightning.errors import UserError
from kd_lightning.imageio.strict import read_rgb


def check_triplets(
    triplets: Triplets, stems: Sequence[str], cache: Path, workers: int
) -> list[Path]:
    """The files of `stems` in the store and the teacher's cache that are damaged or missing, and
    the arrays whose source file has changed without a new size or time.

    They are dropped, so that the next preparation makes them again.
    """
    bad: list[Path] = []
    with locked(triplets.hr.folder.parent):
        for store in triplets.stores:
            store.reload()
        for store in triplets.stores:
            found: list[str] = []

            def check(stem: str, store: ArrayStore = store, found: list[str] = found) -> None:
                for name in triplets.names(store, stem):
                    if store.damaged(name) or _source_changed(triplets, store, stem, name):
                        found.append(name)

            in_parallel(f"{triplets.title}: check {store.folder.name}", stems, workers, check)
            for name in sorted(found):
                bad.append(store.path(name))
                store.drop(name)
            if found:
                store.commit()
        if triplets.network:
            bad += _check_outputs(triplets, stems, cache, workers)
    return bad


def _check_outputs(
    triplets: Triplets, stems: Sequence[str], cache: Path, workers: int
) -> list[Path]:
    """The teacher's cached PNGs that are not what is stored (and found good); both are deleted.
    The pass's manifest is mended at once."""
    from kd_lightning.data.teacher_pass import (
        repair_manifest,  # loads torch: only where it is needed
    )

    home, store = triplets.teacher_cache(cache), triplets.teacher
    folder = home / triplets.network.key
    assert store is not None
    bad: list[Path] = []

    def check(stem: str) -> None:
        for name in triplets.output_names(stem):
            path = folder / f"{name}.png"
            if path.exists() and name in store.entries:
                try:
                    good = np.array_equal(read_rgb(path), store.stored(name).read())
                except UserError:
                    good = False
                if not good:
                    path.unlink()
                    bad.append(path)

    in_parallel(f"{triplets.title}: check teacher PNGs", stems, workers, check)
    for path in bad:
        store.drop(path.relative_to(folder).with_suffix("").as_posix())
    if bad:
        store.commit()
    manifest = repair_manifest(folder, triplets.network, home.name) if folder.is_dir() else None
    return sorted(bad) + ([manifest] if manifest else [])


def _source_changed(triplets: Triplets, store: ArrayStore, stem: str, name: str) -> bool:
    origin = triplets.origin(store, stem, name)
    # Without the LR array of a teacher's output: it is made anew, most likely the same.
    return origin is not None and origin != store.entries[name].source
