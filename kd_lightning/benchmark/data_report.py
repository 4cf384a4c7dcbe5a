"""The data benchmark's results as a page."""

from typing import Any

HEAD = """# Data: how fast triplets are prepared and read

Made by `python -m kd_lightning.benchmark.data --hr <folder>/train_HR`; the numbers are in
`data.json`. Crop 128 HR pixels, scale 2, batch 16.
"""


def markdown(results: dict[str, Any]) -> str:
    parts = [HEAD]
    for section, write in (
        ("serve", _serve),
        ("prepare", _prepare),
        ("wait", _wait),
        ("formats", _formats),
    ):
        if section in results:
            host = results[section]["machine"]
            parts += [write(results[section]["rows"]), f"\n{_machine(host)}\n"]
    return "\n".join(parts)


def _machine(host: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    busy = "A load above 1 before the run: rates may be noisy, CPU times less so. "
    note = busy if host["load_before"] > 1 else ""
    load = host["load_before"]
    return f"{note}({host['processor']}, {host['threads']} cores, load {load}; {versions})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _serve(rows: list[dict[str, Any]]) -> str:
    rates = {row["name"]: row["rate"] for row in rows if "rate" in row}
    cpu = {row["name"][5:]: row["ms"] for row in rows if "ms" in row}
    subs = next(row["sub_images"] for row in rows if "sub_images" in row)
    lines = [[name, f"{rate:,.0f}"] for name, rate in rates.items()]
    ours = max(rates["ours, 1 workers"], rates["ours, 2 workers"])
    finished = max(rate for name, rate in rates.items() if "finished" in name)
    text = []
    costs = ", ".join(f"{name} {ms:.2f} ms" for name, ms in cpu.items())
    for backend in ("disk", "lmdb"):
        peer = max(rate for name, rate in rates.items() if name.startswith(f"basicsr {backend}"))
        cold = rates["cold: ours"] / rates[f"cold: basicsr {backend}"]
        text.append(
            f"- against basicsr's {backend}: {ours / peer:.0f} times as many samples, "
            f"{finished / peer:.0f} times where the CPU also finishes them, {cold:.0f} times cold, "
            f"{cpu[f'basicsr {backend}'] / cpu['ours']:.0f} times by CPU time"
        )
    return f"""## Samples per second

Ours are triplets (LR, HR, teacher); basicsr's `PairedImageDataset` reads pairs, from {subs}
480-pixel sub-images of the same photographs, as it recommends. One torch thread. "Finished":
floats, flips and rotations, and the interpolated LR crop are made too, which training does on its
device. "Cold": the first 480 samples in one process after the page cache was dropped (a virtual
machine's host may still hold the blocks).

{_table(["reader", "samples/s"], lines)}

CPU time of one sample in one process, warm, which other work on the machine changes little:
{costs}.

{chr(10).join(text)}
"""


def _formats(rows: list[dict[str, Any]]) -> str:
    lines = [[row["name"], f"{row['cold']:,.0f}", f"{row['rate']:,.0f}"] for row in rows]
    return f"""## Why files of strips

Random 128-pixel crops of decoded HR images per second, in batches of 16, one process: the first 480
after the page cache was dropped, and warm:

{_table(["store", "cold", "warm"], lines)}

In row order a crop touches nearly every page of its 128 rows' whole width, and the system's
read-ahead fetches more of the image around them. In strips of 128 columns it is two runs of 49 KB,
which the system is told of for the whole batch at once. LMDB holds the raw arrays here, in row
order, and is read without a copy; it is a memory map as well. Single files are preferred because
each is written whole by a rename of its own, by any number of threads, after any kill; a damaged
one is found by its own hash and made again alone; there is no map size to choose; and `numpy.load`
reads their bytes. litdata's chunks hand over whole images, copied for every crop; what litdata is
for, data sets on object storage that fit no local disk, this store does not do.
"""


def _prepare(rows: list[dict[str, Any]]) -> str:
    whole, *decoders = rows
    lines = [[r["name"][7:], f"{r['ms']:.1f}", f"{100 * r['share']:.0f} %"] for r in decoders]
    return f"""## Preparation

{whole["images"]} images with teacher outputs, {whole["threads"]} threads: {whole["seconds"]:.1f} s,
**{whole["megapixels_per_s"]:.1f} MP/s** (of HR; decoding HR and teacher, LR, hashing, writing and
fsync), {whole["cpu_seconds"]:.1f} s of CPU time. Decoding all its PNGs in one thread, and the share
of that CPU time that it is or would be:

{_table(["decoder", "ms per image", "share"], lines)}

Pillow stays: it decodes outside Python's lock, so the threads scale with the cores; kornia_rs is
faster on one core but holds the lock.
"""


def _wait(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            row["name"] + (" (default)" if row["default"] else ""),
            f"{row['ms_per_step']:.0f}",
            f"{100 * row['waiting']:.2f} %",
            f"{100 * row['finishing']:.2f} %",
        ]
        for row in rows
    ]
    return f"""## A training step's wait

StudentCNN on the interpolated image, fp32, batch 16, L1 to HR and teacher, all cores. "Waiting"
is the time until a batch is there; "finishing" is the device's work on it (here the CPU is it).

{_table(["loader", "ms/step", "waiting", "finishing"], lines)}

The default is half the cores, at most 4: one loader process is enough for two cores, and a
second makes nothing faster.
"""
