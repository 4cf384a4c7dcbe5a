"""Memory over a long training."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_lightning.data.datamodule import TripletDataModule

SMAPS = Path("/proc/self/smaps_rollup")


def anonymous(pid: int | None) -> int:
    """Bytes that the process holds beside mapped files (whose pages the system can drop)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


@pytest.mark.slow
@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's /proc")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_memory_stays_flat_over_twenty_epochs_with_four_workers(
    make_data: Callable[..., TripletDataModule],
) -> None:
    data = make_data(num_workers=4, samples_per_epoch=160, batch_size=8)
    loader = data.train_dataloader()
    held = []
    for epoch in range(20):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            data.on_after_batch_transfer(batch, 0)
        processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        assert len(processes) == 5
        held.append(sum(anonymous(pid) for pid in processes))
    # The first epochs fill caches and the memory allocators' pools.
    assert max(held[4:]) < held[4] + 5e6, held
