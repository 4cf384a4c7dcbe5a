"""python -m kd_lightning.benchmark.data: how fast triplets are prepared and read, and against whom.

Writes `data.json` and `README.md`. Needs the extra `basicsr` (and lmdb) for the comparison;
litdata is measured where it is installed.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kd_lightning.benchmark import machine
from kd_lightning.benchmark.data_peers import (
    basicsr_pairs,
    crops_per_second,
    litdata_reader,
    lmdb_reader,
    pair_loader,
    rows_reader,
    strips_reader,
    write_basicsr_lmdb,
    write_sub_images,
)
from kd_lightning.benchmark.data_report import markdown
from kd_lightning.data.datamodule import TripletDataModule
from kd_lightning.data.datasets import StoredImage, stored_images
from kd_lightning.errors import UserError
from kd_lightning.files import write_json
from kd_lightning.models.students import StudentCNN
from kd_lightning.models.teacher import FolderTeacher

CROP, BATCH, SCALE = 128, 16, 2
# In this order: litdata, in the last one, changes how this process starts others.
SECTIONS = ("serve", "prepare", "wait", "formats")
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong argument or a missing package."""
    parser = argparse.ArgumentParser("python -m kd_lightning.benchmark.data", description=__doc__)
    add = parser.add_argument
    add("--hr", type=Path, required=True, help="folder <x>_HR, with <x>_teacher beside it")
    add("--section", action="append", choices=SECTIONS, help="only this (again: and this) part")
    add("--seconds", type=float, default=5.0, help="of each measurement")
    add("--scratch", type=Path, help="folder to keep what is prepared in, for the next run")
    add("-o", "--output", type=Path, default=Path("experiments/benchmark/data"))
    options = parser.parse_args(arguments)
    file = options.output / "data.json"
    results: Row = json.loads(file.read_text()) if file.exists() else {}
    try:
        with tempfile.TemporaryDirectory(prefix="kd_benchmark_") as temporary:
            scratch = options.scratch or Path(temporary)
            for section in [name for name in SECTIONS if name in (options.section or SECTIONS)]:
                measure = globals()[section]
                host = machine.describe()
                rows = measure(options.hr, scratch, options.seconds)
                results[section] = {"machine": host, "rows": rows}
                print(json.dumps(rows, indent=1))
                options.output.mkdir(parents=True, exist_ok=True)
                write_json(file, results, indent=1)
                (options.output / "README.md").write_text(markdown(results))
    except (UserError, ModuleNotFoundError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def triplets_of(hr: Path, scratch: Path, **changes: Any) -> TripletDataModule:
    data = TripletDataModule(
        [str(hr)],
        [],
        teacher=FolderTeacher(),
        scale=SCALE,
        crop_size=CROP,
        batch_size=BATCH,
        samples_per_epoch=2**20,
        cache_dir=str(scratch / "cache"),
        **changes,
    )
    data.prepare_data()
    data.setup()
    return data


def items_of(data: TripletDataModule) -> list[StoredImage]:
    (selection,) = data._train
    return stored_images(*selection)


def serve(hr: Path, scratch: Path, seconds: float) -> list[Row]:
    """Samples per second: our triplets, basicsr's pairs; same images, crop and batch size."""
    torch.set_num_threads(1)
    data = triplets_of(hr, scratch)
    items = items_of(data)
    if not (scratch / "LR.lmdb").exists():
        write_sub_images(items, scratch, SCALE)
        write_basicsr_lmdb(scratch)
    subs = len(list((scratch / "HR").iterdir()))
    rows: list[Row] = []

    def finished(batch: dict[str, Any]) -> None:
        data.on_after_batch_transfer(batch, 0)

    for workers in (0, 1, 2):
        data.num_workers = workers
        name = f"ours, {workers} workers"
        rows.append({"name": name, "rate": rate(data.train_dataloader(), seconds)})
        rate_finished = rate(data.train_dataloader(), seconds, finished)
        rows.append({"name": f"{name}, finished on this CPU", "rate": rate_finished})
    for backend in ("disk", "lmdb"):
        for workers in (1, 2):
            loader = pair_loader(basicsr_pairs(scratch, backend, CROP, SCALE), BATCH, workers)
            row = {"name": f"basicsr {backend}, {workers} workers", "rate": rate(loader, seconds)}
            rows.append({**row, "sub_images": subs})
    data.num_workers = 0
    alone: dict[str, Callable[[], Iterable[Any]]] = {"ours": data.train_dataloader}
    for backend in ("disk", "lmdb"):
        alone[f"basicsr {backend}"] = partial(pairs_alone, scratch, backend)
    for name, loader_of in alone.items():
        forget(scratch)
        rows.append({"name": f"cold: {name}", "rate": rate(loader_of(), samples=480)})
        spent = time.process_time()
        rate(loader_of(), samples=480)
        rows.append({"name": f"CPU: {name}", "ms": 1000 * (time.process_time() - spent) / 480})
    return rows


def pairs_alone(scratch: Path, backend: str) -> Iterable[Any]:
    return pair_loader(basicsr_pairs(scratch, backend, CROP, SCALE), BATCH, 0)


def formats(hr: Path, scratch: Path, seconds: float) -> list[Row]:
    """Random HR crops per second, one process, cold and warm, by how decoded images are stored."""
    items = items_of(triplets_of(hr, scratch))
    readers = {
        "ours: strips": strips_reader,
        "rows (.npy)": rows_reader,
        "LMDB": lmdb_reader,
        "litdata": litdata_reader,
    }
    rows: list[Row] = []
    for name, reader in readers.items():
        with contextlib.suppress(ImportError), reader(items, scratch) as read:
            forget(scratch)
            cold = crops_per_second(read, items, CROP, BATCH, 1e9, crops=480)
            rate = crops_per_second(read, items, CROP, BATCH, seconds, crops=1e18)
            rows.append({"name": name, "cold": cold, "rate": rate})
    return rows


def prepare(hr: Path, scratch: Path, seconds: float) -> list[Row]:
    """Megapixels (HR) per second of a whole preparation, and what decoding costs in it."""
    threads = os.cpu_count() or 1
    fresh = Path(tempfile.mkdtemp(dir=scratch))
    wall, cpu = time.perf_counter(), time.process_time()
    data = triplets_of(hr, fresh, prepare_workers=threads)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    triplets = data._train[0].triplets
    outputs = triplets.teacher_files or {}
    files = [*triplets.files.values(), *outputs.values()]
    megapixels = sum(item.hr.shape[0] * item.hr.shape[1] for item in items_of(data)) / 1e6
    rows: list[Row] = [
        {"name": "prepare", "threads": threads, "images": len(triplets.files), "seconds": wall,
         "megapixels_per_s": megapixels / wall, "cpu_seconds": cpu},
    ]  # fmt: skip
    for name, decode in decoders().items():
        began = time.process_time()
        for file in files:
            decode(file)
        spent = time.process_time() - began
        per_image = spent / len(files)
        rows.append({"name": f"decode {name}", "ms": 1000 * per_image, "share": spent / cpu})
    return rows


def wait(hr: Path, scratch: Path, seconds: float) -> list[Row]:
    """Share of a StudentCNN training step that is spent waiting for a batch."""
    torch.set_num_threads(os.cpu_count() or 1)
    rows = []
    default = triplets_of(hr, scratch).num_workers
    for workers in sorted({0, default, 2}):
        data = triplets_of(hr, scratch, num_workers=workers)
        row: Row = {"name": f"{workers} workers", "default": workers == default}
        rows.append({**row, **training(data, max(4 * seconds, 8))})
    return rows


def training(data: TripletDataModule, seconds: float) -> Row:
    network = StudentCNN()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    batches = iter(data.train_dataloader())
    waited = finishing = 0.0
    steps, began = -2, 0.0
    while steps < 1 or time.perf_counter() - began < seconds:
        if steps == 0:  # two steps to warm up
            waited, finishing, began = 0.0, 0.0, time.perf_counter()
        start = time.perf_counter()
        batch = next(batches)
        arrived = time.perf_counter()
        batch = data.on_after_batch_transfer(batch, 0)
        ready = time.perf_counter()
        output = network(batch["bicubic"])
        loss = (output - batch["hr"]).abs().mean() + (output - batch["teacher"]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        waited, finishing, steps = waited + arrived - start, finishing + ready - arrived, steps + 1
    elapsed = time.perf_counter() - began
    return {
        "ms_per_step": 1000 * elapsed / steps,
        "waiting": waited / elapsed,
        "finishing": finishing / elapsed,
    }


def rate(
    loader: Iterable[Any],
    seconds: float = 1e9,
    use: Callable[[Any], object] | None = None,
    samples: float = 1e18,
) -> float:
    """Samples per second, over `seconds` (after the first batches) or the first `samples`."""
    cold = samples < 1e18
    count, skip = 0, 0 if cold else 20
    began = time.perf_counter()
    while True:
        for batch in loader:
            if use is not None:
                use(batch)
            if skip:
                skip -= 1
                began = time.perf_counter()
                continue
            count += BATCH
            elapsed = time.perf_counter() - began
            if elapsed > seconds or count >= samples:
                return count / elapsed


def forget(folder: Path) -> None:
    """Drop the system's cached pages of the files below `folder`, where it can be asked to."""
    os.sync()
    if hasattr(os, "posix_fadvise"):
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def decoders() -> dict[str, Callable[[Path], object]]:
    """PNG decoders that are installed, by name."""
    from kd_lightning.imageio.strict import read_rgb

    found: dict[str, Callable[[Path], object]] = {"Pillow": read_rgb}
    with contextlib.suppress(ImportError):
        import cv2

        found["cv2"] = lambda path: cv2.imread(str(path))
    with contextlib.suppress(ImportError):
        from kornia_rs.io import read_image_png_u8

        found["kornia_rs"] = lambda path: read_image_png_u8(str(path), "rgb")
    return found


if __name__ == "__main__":
    sys.exit(main())
