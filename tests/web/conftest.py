"""Fixtures of the browser's tests. They are of this folder, not of the session: while playwright
runs, `asyncio.run` cannot be called in the same thread."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_lightning.deploy.export import export
from kd_lightning.models.pretrained import shipped
from tests.web.chromium import SWIFTSHADER, WEB, Chromium, executable, serving, time_limit

STUDENTS = {  # all that ship but the teacher
    name: file for name, file in shipped("*.safetensors").items() if name != "swinir_small"
}
BLANK = b"<!doctype html><html lang=en><title>test</title>"


# A test that takes longer has hung: its browser is killed, and it fails by name.
LONGEST = 120  # seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with time_limit(LONGEST):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with time_limit(LONGEST):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    with time_limit(LONGEST):
        return (yield)


@pytest.fixture(scope="package")
def driver() -> Iterator[Any]:
    """playwright, which drives a Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if executable() is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="package")
def chromium(driver: Any) -> Iterator[Chromium]:
    """With WebGPU and WebGL2 on the CPU."""
    chromium = Chromium(driver, SWIFTSHADER)
    yield chromium
    chromium.close()


@pytest.fixture
def browser(chromium: Chromium) -> Any:
    """A playwright `Browser`."""
    return chromium.browser


@pytest.fixture(scope="package")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> .kdw of each shipped student that a browser can run."""
    folder = tmp_path_factory.mktemp("exported")
    files = {name: folder / f"{name}.kdw" for name in STUDENTS}
    for name, file in files.items():
        export(STUDENTS[name], file)
    return files


@pytest.fixture(scope="package")
def served(exported: dict[str, Path]) -> dict[str, bytes]:
    """Path -> content of what `site` serves beside `web/`: blank.html, frames.js, models/NAME.kdw.
    A test may add to it."""
    frames = Path(__file__).with_name("frames.js")
    models = {f"/models/{file.name}": file.read_bytes() for file in exported.values()}
    return {"/blank.html": BLANK, "/frames.js": frames.read_bytes(), **models}


@pytest.fixture(scope="package")
def site(served: dict[str, bytes]) -> Iterator[str]:
    """Address of a server of `web/` and of what `served` has."""
    with serving(WEB, served) as address:
        yield address


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """A blank page of `site`, in a context of its own; an error that nobody catches fails."""
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{site}/blank.html")
    yield page
    context.close()
    assert not errors, errors


def encoded(frame: np.ndarray) -> dict[str, Any]:
    """(h,w,3) uint8 for `page.evaluate`; tests/web/frames.js makes an ImageData of it."""
    height, width = frame.shape[:2]
    rgba = np.concatenate([frame, np.full((height, width, 1), 255, np.uint8)], axis=2)
    return {"width": width, "height": height, "rgba": base64.b64encode(rgba.tobytes()).decode()}


def decoded(frame: dict[str, Any]) -> np.ndarray:
    """(h,w,3) uint8 of what tests/web/frames.js made of an ImageData; alpha must be 255."""
    rgba = np.frombuffer(base64.b64decode(frame["rgba"]), np.uint8)
    rgba = rgba.reshape(frame["height"], frame["width"], 4)
    assert (rgba[..., 3] == 255).all()
    return rgba[..., :3]
