"""Fill the tables of experiments/README.md that come from small_runs/, and draw alpha.png.

`python experiments/small_runs.py`; each folder there is one run as `ship.py` copied it, those of
one setting with other seeds named SETTING_seed0, SETTING_seed1, ...
"""

import json
import re
import statistics
from pathlib import Path

import matplotlib.pyplot as plt

from kd_lightning.quality import METRICS

HERE = Path(__file__).parent
RUNS = HERE / "small_runs"
COLUMNS = [("valid", "psnr_y"), ("valid", "ssim_rgb"), ("set5", "psnr_y"), ("set5", "ssim_rgb")]
ALPHAS = {0.5: "alpha_0.5", 0.7: "alpha_0.7", 0.85: "output", 1.0: "alpha_1"}
TABLES = {
    "distillation": {
        "no teacher, w = 0 (the control)": "control",
        "output, w = 0.5": "output",
        "output alone, w = 1": "output_only",
        "features of the bundled SwinIR, w = 0": "features",
        "gradients, weight 0.5, w = 0.5": "gradient",
    },
    "alpha": {f"{alpha:.2f}": setting for alpha, setting in ALPHAS.items()},
    "recipe": {
        "as in `conf/experiment/kd_photos.yaml`": "output",
        "`student.rep=false`": "plain",
        "`student.activation=prelu`": "prelu",
        "`student.activation=silu`": "silu",
        "`optimizer.lr=1e-3`": "lr_1e-3",
        "`optimizer.lr=4e-3`": "lr_4e-3",
        "`scheduler=step`, halved every 300 steps": "step",
        "8 crops of 96x96": "crops_96",
        "`callbacks=default`: no average of the weights": "no_ema",
        "`precision=fp32`": "fp32",
    },
}


def scores(setting: str) -> list[list[float]]:
    """Rows of COLUMNS, one for each seed."""
    files = [*RUNS.glob(f"{setting}/metrics.json"), *RUNS.glob(f"{setting}_seed*/metrics.json")]
    results = [json.loads(file.read_text()) for file in sorted(files)]
    return [[result[name]["student"][metric] for name, metric in COLUMNS] for result in results]


def table(settings: dict[str, str]) -> str:
    """Markdown; mean and sample standard deviation where there are several seeds."""
    lines = [
        "| | seeds | valid PSNR-Y | valid RGB-SSIM | Set5 PSNR-Y | Set5 RGB-SSIM |",
        "|---|---|---|---|---|---|",
    ]
    for label, setting in settings.items():
        rows = scores(setting)
        if not rows:
            raise SystemExit(f"{RUNS / setting}: no run of this setting")
        cells = []
        for (_, metric), values in zip(COLUMNS, zip(*rows, strict=True), strict=True):
            text = METRICS[metric].text
            spread = f" ± {text(statistics.stdev(values))}" if len(values) > 1 else ""
            cells.append(f"{text(statistics.mean(values))}{spread}")
        lines.append(f"| {label} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_alpha(target: Path) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    rows = [scores(setting)[0] for setting in ALPHAS.values()]
    for panel, name, psnr, ssim in zip(panels, ("valid", "set5"), (0, 2), (1, 3), strict=True):
        panel.plot(list(ALPHAS), [row[psnr] for row in rows], "o-", color="tab:blue")
        panel.set(title=name, xlabel="alpha (share of L1)")
        panel.set_ylabel("PSNR-Y (dB)", color="tab:blue")
        right = panel.twinx()
        right.plot(list(ALPHAS), [row[ssim] for row in rows], "s--", color="tab:red")
        right.set_ylabel("RGB-SSIM", color="tab:red")
    figure.savefig(target, dpi=110)


def main() -> None:
    readme = HERE / "README.md"
    text = readme.read_text()
    for name, settings in TABLES.items():
        marks = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        filled = f"\\g<1>{table(settings)}\n\\g<2>"
        text, found = re.subn(marks, filled, text, flags=re.DOTALL)
        if not found:
            raise SystemExit(f"{readme}: no <!-- {name} --> ... <!-- end --> to fill")
    readme.write_text(text)
    draw_alpha(HERE / "alpha.png")


if __name__ == "__main__":
    main()
