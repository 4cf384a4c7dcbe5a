"""python -m kd_lightning.benchmark.readme: the README's table, from the benchmark's JSON."""

import json
import sys
from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.quality import METRICS

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
RESULT = Path("experiments/benchmark/benchmark.json")
SHOWN = {name: METRICS[name] for name in ("ssim_rgb", "psnr_y")}
HEADER = (
    *("", "parameters", "GMAC", *(metric.label for metric in SHOWN.values())),
    *("1080p frame", "frames/s", "of peak"),
)


def table(result: dict[str, Any]) -> str:
    """Markdown: the first test set's quality and the time of a 1080p frame, 8 bit in and out, for
    bicubic, each student on its default path and quantized, and the teachers."""
    times = {case["method"]: case for case in result["speed"] if case["frame"] == "1080p"}
    test_set, entry = next(iter(result["quality"].items()))
    lines = [_row(HEADER), _row(["---"] * len(HEADER))]
    for name, row in entry["scores"].items():
        if name.endswith(" torch fp32"):
            continue
        case = times.get(result["timed_as"].get(name, ""), {})
        frame = case.get("frame_ms", {}).get("median")
        cells = [
            name.removesuffix(" default"),
            f"{case['parameters']:,}" if "parameters" in case else "",
            f"{case['gmac']:.1f}" if "gmac" in case else "",
            *(metric.text(row[key]) for key, metric in SHOWN.items()),
            f"{frame:.0f} ms" if frame else "",
            f"{1000 / frame:.1f}" if frame else "",
            f"{case['share_of_peak']:.0%}" if "share_of_peak" in case else "",
        ]
        lines.append(_row(cells))
    machine = result["machine"]
    note = (
        f"{test_set}; {machine['threads']} threads of {machine['processor']}; {machine['device']}."
    )
    return "\n".join([*lines, "", note])


def rewrite(text: str, result: dict[str, Any]) -> str:
    """`text` with what stands between the two markers replaced; UserError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"README.md: no {BEGIN} and {END}; add them where the table belongs")
    return f"{before}{BEGIN}\n{table(result)}\n{END}{after}"


def main() -> int:
    readme = Path("README.md")
    try:
        text = rewrite(readme.read_text(), json.loads(RESULT.read_text()))
    except (UserError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    readme.write_text(text)
    return 0


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
