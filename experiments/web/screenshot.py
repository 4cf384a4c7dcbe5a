"""docs/web.png, the page as it starts: `python -m experiments.web.screenshot`."""

import io
from pathlib import Path

from PIL import Image

from experiments.web.page import opened

TARGET = Path(__file__).parents[2] / "docs" / "web.png"
MOST_BYTES = 150_000


def main() -> None:
    with opened(viewport={"width": 760, "height": 720}) as page:
        page.wait_for_selector("#download:enabled")
        shot = Image.open(io.BytesIO(page.screenshot()))
    # A palette of 256 colours is a third of the bytes.
    shot.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(
        TARGET, optimize=True
    )
    assert TARGET.stat().st_size <= MOST_BYTES, TARGET.stat().st_size
    print(f"{TARGET} written")


if __name__ == "__main__":
    main()
