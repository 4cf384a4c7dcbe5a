"""Tables, figure and image of the call benchmark, from its JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kd_lightning.benchmark.calls.measure import CRFS
from kd_lightning.quality import METRICS

Result = dict[str, Any]
COLUMNS = {
    **{name: (METRICS[name].label, METRICS[name].form) for name in ("psnr_y", "ssim_rgb")},
    "flicker": ("flicker", "{:+.2f}"),
    "temporal_error": ("temporal error", "{:.2f}"),
}


def markdown(result: Result) -> str:
    """The whole report: gains by CRF, then every point of every scale, means over the clips."""
    parts = ["# Frames of a call", "", *notes(result)]
    for scale in result["scales"]:
        names = list(means(result, scale, [f"h264 crf {CRFS[0]}"])[f"h264 crf {CRFS[0]}"])
        header = ["x" + scale + ", gain over the baseline", *(f"CRF {crf}" for crf in CRFS)]
        for metric in ("psnr_y", "ssim_rgb"):
            label, form = COLUMNS[metric]
            parts += ["", f"## {title(scale)}: {label}, gain", "", _row(header), _rule(header)]
            table = gains(result, scale, metric)
            sign = "{:+" + form.removeprefix("{:")
            parts += [_row([n, *(sign.format(v) for v in table[n])]) for n in names[1:]]
        parts += every_point(result, scale)
    for name, damages in result.get("photos", {}).items():
        parts += photo_table(name, damages)
    return "\n".join(parts) + "\n"


def notes(result: Result) -> list[str]:
    clips = ", ".join(f"{name} ({c['size']}, {c['scored']})" for name, c in result["clips"].items())
    return [
        f"Means over the clips {clips} scored frames. Protocol: docs/protocol.md. The baseline is "
        "the interpolated frame, or at the same size the decoded frame itself; the unsharp mask "
        "has the strength that is best for each clip and point."
    ]


def title(scale: str) -> str:
    return "Same size" if scale == "1" else f"Enlarged by {scale}"


def means(result: Result, scale: str, points: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Point -> method -> scores, each the mean over the clips."""
    found: dict[str, dict[str, Any]] = {}
    clips = list(result["scales"][scale].values())
    for point in points:
        rows = [clip[point]["rows"] for clip in clips]
        found[point] = {
            name: {m: sum(row[name][m] for row in rows) / len(rows) for m in COLUMNS}
            for name in rows[0]
        }
    return found


def gains(result: Result, scale: str, metric: str) -> dict[str, list[float]]:
    """Method -> its mean over the clips less the baseline's, at each CRF."""
    table = means(result, scale, [f"h264 crf {crf}" for crf in CRFS])
    names = next(iter(table.values()))
    return {
        name: [rows[name][metric] - rows["baseline"][metric] for rows in table.values()]
        for name in names
    }


def every_point(result: Result, scale: str) -> list[str]:
    clips = result["scales"][scale]
    points = list(next(iter(clips.values())))
    header = ["point", "kbit/s", "method", *(label for label, _ in COLUMNS.values())]
    lines = ["", f"## {title(scale)}: every point", "", _row(header), _rule(header)]
    for point, rows in means(result, scale, points).items():
        rates = [clip[point]["kbps"] for clip in clips.values()]
        rate = "" if rates[0] is None else " / ".join(f"{r:.0f}" for r in rates)
        for name, scores in rows.items():
            cells = [form.format(scores[m]) for m, (_, form) in COLUMNS.items()]
            lines.append(_row([point, rate, name, *cells]))
    return lines


def photo_table(name: str, damages: dict[str, dict[str, float]]) -> list[str]:
    header = ["method", "sharp: PSNR to the input", *(f"{d}: gain" for d in list(damages)[1:])]
    lines = ["", f"## Photographs of {name}, same size", "", _row(header), _rule(header)]
    for method in next(iter(damages.values())):
        sharp, *gains = (row[method] for row in damages.values())
        lines.append(_row([method, f"{sharp:.1f}", *(f"{gain:+.2f}" for gain in gains)]))
    return lines


def plot(result: Result, target: Path) -> Path:
    """PSNR-Y against bitrate of H.264, one line a method, one panel a scale and clip."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [(s, c) for s, clips in result["scales"].items() for c in clips]
    columns = max(len(clips) for clips in result["scales"].values())
    rows = len(panels) // columns
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 4 * rows), squeeze=False)
    for axis, (scale, clip) in zip(axes.flat, panels, strict=True):
        at = [p for n, p in result["scales"][scale][clip].items() if n.startswith("h264")]
        for name in at[0]["rows"]:
            psnr = [point["rows"][name]["psnr_y"] for point in at]
            style = {"color": "black", "linestyle": "--"} if name == "baseline" else {}
            axis.plot([p["kbps"] for p in at], psnr, marker=".", label=name, **style)
        axis.set(xscale="log", xlabel="kbit/s", ylabel="PSNR-Y, dB", title=f"{clip}, x{scale}")
        axis.grid(alpha=0.3)
    for row in axes:
        row[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)
    return target


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(header: list[str]) -> str:
    return _row(["---"] * len(header))
