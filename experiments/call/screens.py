"""What the students of the same size change where nothing is to mend: rendered text.

python experiments/call/screens.py writes screens.json here and prints a table: PSNR of the output
against the input (dB), the largest change in levels of 255, and the share of pixels that change by
more than 10. Pages of 400x200 in Pillow's own font, 14 pixels, and its bitmap font.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kd_lightning import Enhancer

STUDENTS = ("call_fast_x1", "call_tiny_x1")
PAGES = {
    "black on white": ("black", "white"),
    "white on dark": ((220, 220, 220), (30, 30, 30)),
    "red on white": ((200, 0, 30), "white"),
}
FONTS = {"smooth": ImageFont.load_default(14), "bitmap": ImageFont.load_default_imagefont()}
LINE = "def enhance(image): return student(image)  # 0123456789"


def main() -> None:
    rows = []
    for student in STUDENTS:
        enhancer = Enhancer(student)
        for font in FONTS:
            for page, (ink, paper) in PAGES.items():
                text = drawn(FONTS[font], ink, paper)
                apart = np.abs(np.asarray(enhancer(text)).astype(int) - text)
                psnr = 10 * np.log10(255**2 / np.mean(apart**2.0))
                row = {"student": student, "font": font, "page": page, "psnr": round(psnr, 2)}
                row |= {"largest": int(apart.max()), "above_10": float((apart.max(2) > 10).mean())}
                rows.append(row)
                print(*row.values())
    Path(__file__).with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")


def drawn(font: ImageFont.ImageFont, ink: object, paper: object) -> np.ndarray:
    """(200,400,3) uint8."""
    image = Image.new("RGB", (400, 200), paper)
    draw = ImageDraw.Draw(image)
    for line in range(11):
        draw.text((5, 5 + 17 * line), LINE, fill=ink, font=font)
    return np.asarray(image)


if __name__ == "__main__":
    main()
