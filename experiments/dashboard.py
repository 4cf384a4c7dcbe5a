"""docs/dashboard.png: the dashboard of the committed experiments, in light and in dark.

`python experiments/dashboard.py` needs Chromium and playwright (extra `test`).
"""

import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import sync_playwright

from kd_lightning.commands.dashboard import main as write_dashboard

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "dashboard.png"
SIZE = {"width": 1180, "height": 1000}
COLOURS = 128  # of the palette
SHOWN = {"light": ("#runs", "#curves"), "dark": ("#tradeoff", "#parallel")}
CHOSEN = ["student_cnn", "student_fast", "student_fast_large_crops", "student_tiny"]
STATE: dict[str, Any] = {
    "selected": [f"students/{name}" for name in CHOSEN],
    "metric": "train/loss",
    "smooth": 0.9,
    "logY": True,
    "axes": ["trainer.max_epochs", "loss.teacher_weight", "loss.alpha", "best", "set5/psnr_y"],
    "sort": "set5/psnr_y",
    "down": True,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_file = Path(folder) / "dashboard.html"
        write_dashboard([str(ROOT / "experiments"), "-o", str(page_file)])
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        columns = []
        for theme, sections in SHOWN.items():
            page = browser.new_page(viewport=SIZE)
            state = quote(json.dumps({**STATE, "theme": theme}))
            page.goto(f"{page_file.as_uri()}#{state}")
            images = [page.locator(section).screenshot() for section in sections]
            columns.append([Image.open(io.BytesIO(image)) for image in images])
        browser.close()
    width = columns[0][0].width
    height = min(sum(image.height for image in column) for column in columns)
    picture = Image.new("RGB", (width * len(columns), height))
    for number, column in enumerate(columns):
        top = 0
        for image in column:
            picture.paste(image, (number * width, top))
            top += image.height
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(f"{TARGET} {picture.size}, {TARGET.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
