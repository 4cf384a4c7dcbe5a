"""Making curves and images small enough for a page that holds hundreds of them."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

LARGEST_IMAGE = 40_000_000  # pixels; a larger one is not opened
WIDTH = 1280  # pixels, at most, of an image on the page
QUALITY = 82  # of WebP, 0 to 100


def thin_curve(
    steps: Sequence[int], values: Sequence[float], count: int
) -> tuple[list[int], list[float]]:
    """At most `count` (3 or more) points of a curve that look like all of them, the first and the
    last among them.

    Largest Triangle Three Buckets (Steinarsson 2013, "Downsampling Time Series for Visual
    Representation", section 4.2): of each bucket the point that spans the largest triangle with
    the point chosen before and the mean of the bucket after.
    """
    if len(steps) <= count:
        return list(steps), list(values)
    edges = [1 + place * (len(steps) - 2) // (count - 2) for place in range(count - 1)]
    chosen = [0]
    for place in range(count - 2):
        start, end = edges[place], edges[place + 1]
        after = range(end, edges[place + 2] if place + 2 < len(edges) else len(steps))
        mean_x = sum(steps[i] for i in after) / len(after)
        mean_y = sum(values[i] for i in after) / len(after)
        x, y = steps[chosen[-1]], values[chosen[-1]]

        def area(
            i: int, x: float = x, y: float = y, mx: float = mean_x, my: float = mean_y
        ) -> float:
            return abs((x - mx) * (values[i] - y) - (x - steps[i]) * (my - y))

        chosen.append(max(range(start, end), key=area))
    chosen.append(len(steps) - 1)
    return [steps[i] for i in chosen], [values[i] for i in chosen]


def data_uri(path: Path) -> str:
    """The image as a WebP `data:` address, made narrower than WIDTH. Raises OSError or ValueError
    where it cannot be read or is larger than LARGEST_IMAGE."""
    with Image.open(path) as image:
        width, height = image.size
        if width * height > LARGEST_IMAGE:
            raise ValueError(f"{width}x{height} pixels are too many")
        shown = image.convert("RGB")
    if width > WIDTH:
        shown = shown.resize((WIDTH, max(1, round(height * WIDTH / width))), Image.Resampling.BOX)
    content = io.BytesIO()
    shown.save(content, "webp", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()
