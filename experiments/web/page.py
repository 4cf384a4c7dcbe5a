"""Pages in a headless Chromium: web/dist, built if need be, with a fake camera; a blank one for
scripts that measure. And the file of what they found."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.web.chromium import SWIFTSHADER, WEB, WITHOUT_GPU, Chromium, serving
from web.build import DIST, build, stale
from web.serve import server

READY = "#status:text-matches(' to .* on ')"


@contextmanager
def opened(
    camera: Path | None = None, script: str = "", gpu: bool = False, **context: Any
) -> Iterator[Any]:
    """A playwright page that shows its sample; `script` runs before the page's own. Without `gpu`,
    which SwiftShader stands in for, the browser draws as it does where there is none."""
    served = server(build() if stale() else DIST)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    flags = [*(SWIFTSHADER if gpu else WITHOUT_GPU), "--use-fake-device-for-media-stream"]
    if camera:
        flags.append(f"--use-file-for-fake-video-capture={camera}")
    with sync_playwright() as driver:
        chromium = Chromium(driver, flags)
        page = chromium.browser.new_context(permissions=["camera"], **context).new_page()
        page.add_init_script(script)
        page.goto(f"http://127.0.0.1:{served.server_port}/")
        page.wait_for_selector(READY)
        yield page
        chromium.close()
    served.shutdown()
    served.server_close()


@contextmanager
def blank(folder: Path, files: dict[str, bytes], flags: Sequence[str]) -> Iterator[Any]:
    """An empty playwright page of a server that has `folder` and `files` (path -> content)."""
    files = {"/blank.html": b"<!doctype html><body>", **files}
    with serving(folder, files) as address, sync_playwright() as driver:
        chromium = Chromium(driver, flags)
        page = chromium.browser.new_page()
        page.goto(f"{address}/blank.html")
        yield page
        chromium.close()


def sources(pattern: str = "*.*") -> dict[str, bytes]:
    """web/src by path, as `blank` serves it: /src/kd-web.js, ..."""
    files = (WEB / "src").rglob(pattern)
    return {f"/{path.relative_to(WEB).as_posix()}": path.read_bytes() for path in files}


def write(target: Path, found: object) -> None:
    """Into a JSON file, and onto the screen."""
    text = json.dumps(found, indent=1)
    target.write_text(text + "\n")
    print(text)


def film(path: Path, width: int, height: int, rate: int, frames: int = 30) -> Path:
    """A pan over a photograph (scikit-image's astronaut), as YUV4MPEG2 that a fake camera films."""
    photo = Image.fromarray(skimage.data.astronaut()).resize((width + 2 * frames, height * 2))
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(frames):
            frame = photo.crop((2 * number, 40, 2 * number + width, 40 + height))
            y, cb, cr = (np.array(plane) for plane in frame.convert("YCbCr").split())
            halves = (c.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for c in (cb, cr))
            file.write(b"FRAME\n" + y.tobytes())
            file.write(b"".join(half.round().astype(np.uint8).tobytes() for half in halves))
    return path
