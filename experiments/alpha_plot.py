"""Draw experiments/alpha/alpha.png from the sweep's metrics: how SSIM and PSNR trade.

`python experiments/alpha_plot.py` reads experiments/alpha/<alpha>/metrics.json.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "alpha"


def main() -> None:
    runs = sorted((float(path.parent.name), path) for path in FOLDER.glob("*/metrics.json"))
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for panel, name in zip(panels, ("valid", "set5"), strict=True):
        alphas = [alpha for alpha, _ in runs]
        scores = [json.loads(path.read_text())[name]["student"] for _, path in runs]
        panel.plot(alphas, [row["psnr_y"] for row in scores], "o-", color="tab:blue")
        panel.set(title=name, xlabel="alpha (share of L1)")
        panel.set_ylabel("PSNR-Y (dB)", color="tab:blue")
        right = panel.twinx()
        right.plot(alphas, [row["ssim_rgb"] for row in scores], "s--", color="tab:red")
        right.set_ylabel("RGB-SSIM", color="tab:red")
    figure.savefig(FOLDER / "alpha.png", dpi=110)


if __name__ == "__main__":
    main()
