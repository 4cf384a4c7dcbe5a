"""Tables, plots and a page from the benchmark's figures."""

import base64
import html
from pathlib import Path
from typing import Any

from kd_lightning.benchmark.speed import FRAMES
from kd_lightning.files import write_json
from kd_lightning.quality import METRICS

Result = dict[str, Any]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } img { max-width: 100% }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ccc; text-align: right }
td:first-child, th:first-child { text-align: left } tr:hover { background: #f3f3f3 }
"""


def write(result: Result, folder: Path, crops: dict[str, Path]) -> Path:
    """Write benchmark.json, benchmark.md, quality_time.png and benchmark.html into `folder`;
    returns the page. `crops`: caption -> picture with zoomed details, which only the page shows."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "benchmark.json", result, indent=1)
    text = markdown(result)
    plot = plot_quality_time(result, folder / "quality_time.png")
    link = "\n![quality against time](quality_time.png)\n" if plot else ""
    (folder / "benchmark.md").write_text(text + link)
    page = folder / "benchmark.html"
    page.write_text(to_html(result, {**({"Quality against time": plot} if plot else {}), **crops}))
    return page


def markdown(result: Result) -> str:
    """The whole report without pictures."""
    parts = ["# Benchmark", "", machine_line(result["machine"]), "", *notes()]
    for title, header, rows in tables(result):
        parts += ["", f"## {title}", "", _row(header), _row(["---"] * len(header))]
        parts += [_row(row) for row in rows]
    failures = [f"- {c['method']} at {c['frame']}: {c['error']}" for c in _failed(result)]
    if failures:
        parts += ["", "## Could not run here", "", *failures]
    return "\n".join(parts) + "\n"


def tables(result: Result) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, header, rows) of every table."""
    found = [(f"Quality: {name}", *quality_table(scores)) for name, scores in _sets(result)]
    for frame, (height, width) in FRAMES.items():
        cases = [c for c in result["speed"] if c["frame"] == frame and "error" not in c]
        if cases:
            title = f"Speed: {frame}, {width // 2}x{height // 2} in, {width}x{height} out"
            found.append((title, *speed_table(cases)))
    return found


def quality_table(scores: dict[str, dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    labels = [metric.label for metric in METRICS.values()]
    header = ["method", *labels, "gap closed", "levels from fp32"]
    rows = []
    for name, row in scores.items():
        gap = f"{row['gap_closed']:.0%}" if "gap_closed" in row else ""
        values = [metric.text(row[key]) for key, metric in METRICS.items()]
        levels = f"{row['levels_from_fp32']:.0f}" if "levels_from_fp32" in row else ""
        rows.append([name, *values, gap, levels])
    return header, rows


def speed_table(cases: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Slowest network first; "speed-up" is against the plain eager StudentCNN of the table."""
    header = ["method", "network ms", "p95", "8-bit frame ms", "p95", "frames/s", "speed-up"]
    header += ["GMAC", "of peak", "parameters", "memory MB"]
    base = next((c["network_ms"]["median"] for c in cases if c["method"] == "StudentCNN eager"), 0)
    rows = []
    for case in cases:
        net, frame = case.get("network_ms"), case["frame_ms"]
        own = net or frame
        share = case.get("share_of_peak")
        rows.append(
            [
                case["method"],
                f"{net['median']:.0f}" if net else "",
                f"{net['p95']:.0f}" if net else "",
                f"{frame['median']:.0f}",
                f"{frame['p95']:.0f}",
                f"{case['fps']:.1f}",
                f"{base / own['median']:.1f}x" if base else "",
                f"{case['gmac']:.1f}" if "gmac" in case else "",
                f"{share:.0%}" if share else "",
                f"{case['parameters']:,}" if "parameters" in case else "",
                f"{case['memory_mb']:.0f}",
            ]
        )
    return header, rows


def machine_line(machine: Result) -> str:
    """One sentence that names hardware and versions."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    peaks = ", ".join(f"{v:.0f} Gop/s {k}" for k, v in machine["matrix_peaks"].items())
    return (
        f"{machine['processor']}, {machine['threads']} threads, {machine['memory_gb']} GB; "
        f"{machine['device']}; {machine['system']}; {versions}. Matrix product 2048x2048: {peaks}. "
        f"Load before the run: {machine['load_before']}."
    )


def notes() -> list[str]:
    return [
        "Quality: docs/protocol.md; students as deployed (kd-enhance: 8-bit in and out); "
        '"default" is what kd-enhance takes here, "gap closed" the share of the way in PSNR-Y from '
        'bicubic to the last teacher of the table, "levels from fp32" the largest difference in '
        "any 8-bit value. int8: quantized on sample photos of scikit-image. Speed: "
        'median after a warm-up; "network" runs on a float frame in memory, "8-bit frame" goes '
        "from a small 8-bit frame through interpolation, network and rounding to a large 8-bit "
        'frame. "Of peak": 2*GMAC/time over the matrix product of that precision, of int8 '
        "where an engine runs a student in 8 bits. Networks in the speed tables have random "
        "weights, in 8 bits where the student's are; time does not depend on them."
    ]


def plot_quality_time(result: Result, path: Path) -> Path | None:
    """PSNR-Y of the first test set against milliseconds of a 1080p frame, with the Pareto front;
    None where no method has both."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points = quality_time(result)
    if not points:
        return None
    front = pareto(points)
    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=110)
    for name, (ms, psnr) in points.items():
        axes.plot(ms, psnr, "o", color="C0" if name in front else "0.6")
        axes.annotate(name, (ms, psnr), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.plot(*zip(*(points[name] for name in front), strict=True), "-", color="C0", alpha=0.4)
    axes.set(xscale="log", xlabel="ms for a 1080p frame, 8 bit in and out", ylabel="PSNR-Y, dB")
    axes.set_title(next(iter(result["quality"])), fontsize=9)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
    return path


def quality_time(result: Result) -> dict[str, tuple[float, float]]:
    """Method -> (milliseconds at 1080p, PSNR-Y on the first test set), where both are known."""
    times = {
        case["method"]: case["frame_ms"]["median"]
        for case in result["speed"]
        if case["frame"] == "1080p" and "error" not in case
    }
    scores = next((scores for _, scores in _sets(result)), {})
    return {
        method: (times[timed_as], scores[method]["psnr_y"])
        for method, timed_as in result["timed_as"].items()
        if method in scores and timed_as in times
    }


def pareto(points: dict[str, tuple[float, float]]) -> list[str]:
    """Names of the points that no other beats in both time and quality, fastest first."""
    front: list[str] = []
    best = float("-inf")
    for name, (_, psnr) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if psnr > best:
            front.append(name)
            best = psnr
    return front


def to_html(result: Result, images: dict[str, Path]) -> str:
    """A page that needs no other file."""
    parts = [f"<!doctype html><meta charset=utf-8><title>Benchmark</title><style>{STYLE}</style>"]
    parts += ["<h1>Benchmark</h1>", f"<p>{html.escape(machine_line(result['machine']))}</p>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in notes()]
    for title, header, rows in tables(result):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    for caption, path in images.items():
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f"<h2>{html.escape(caption)}</h2><img src='data:image/png;base64,{data}'>")
    return "\n".join(parts) + "\n"


def _sets(result: Result) -> list[tuple[str, dict[str, dict[str, float]]]]:
    return [
        (f"{name} ({entry['n']} images)", entry["scores"])
        for name, entry in result["quality"].items()
    ]


def _failed(result: Result) -> list[Result]:
    return [case for case in result["speed"] if "error" in case]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
