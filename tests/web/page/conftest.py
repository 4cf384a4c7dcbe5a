"""The page in a headless Chromium with a fake camera, served as `make demo` serves it."""

import base64
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning import Enhancer
from kd_lightning.models.artifact import save_artifact
from kd_lightning.models.pretrained import shipped
from kd_lightning.models.students import StudentFast
from tests.web.chromium import WITHOUT_GPU, Chromium
from web.build import build
from web.serve import Handler, server

CAMERA = (64, 48, 10)  # width, height, frames a second of the fake camera
READY = "#status:text-matches(' to .* on ')"
SLOWEST = 45  # seconds that anything may take on a busy machine
NO_ENGINE = "export const create = () => { throw new Error('not in this test'); };"


@pytest.fixture(scope="package")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with three of its students."""
    weights = shipped("*.safetensors")
    chosen = {name: weights[name] for name in ("student_tiny", "call_tiny_x2", "call_tiny_x1")}
    return build(tmp_path_factory.mktemp("page") / "dist", chosen)


@pytest.fixture(scope="package")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student so small that plain JavaScript runs it, with visible detail."""
    return random_student(tmp_path_factory.mktemp("weights") / "random.safetensors", scale=2)


@pytest.fixture(scope="package")
def same_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One like `weights` whose output is as large as its input."""
    return random_student(tmp_path_factory.mktemp("weights") / "same.safetensors", scale=1)


def random_student(path: Path, scale: int) -> Path:
    torch.manual_seed(5)
    arguments = {"scale": scale, "width": 4, "depth": 2}
    network = StudentFast(**arguments).eval().requires_grad_(False)
    return save_artifact(path, network, arguments)


@pytest.fixture(scope="package")
def plain_dist(tmp_path_factory: pytest.TempPathFactory, weights: Path, same_size: Path) -> Path:
    """The page with three names for `weights` and one for `same_size`, and one engine, the
    reference in JavaScript; the others do not start."""
    students = {name: weights for name in ("random", "other", "call_tiny_x2")}
    students["same"] = same_size
    copy = build(tmp_path_factory.mktemp("page") / "plain", students)
    shutil.rmtree(copy / "engines", ignore_errors=True)
    (copy / "engines").mkdir()
    for name in ("webgpu", "webgl2"):
        (copy / "engines" / f"{name}.js").write_text(NO_ENGINE)
    shutil.copy(Path(__file__).parent / "reference_engine.js", copy / "engines" / "wasm.js")
    # How fast it is concerns no test: it is tried on a small frame, once.
    replace(copy / "kd-web.js", "{ width: 320, height: 180 }", "{ width: 32, height: 18 }")
    replace(copy / "engines.js", "TRIAL_MS = 300", "TRIAL_MS = 0")
    return copy


@pytest.fixture(scope="package")
def serve() -> Iterator[Callable[..., str]]:
    """serve(folder, handler) is the address of a server of that folder."""
    running = []

    def start(folder: Path, handler: type[Handler] = Handler) -> str:
        served = server(folder, handler=handler)
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        running.append((served, thread))
        return f"http://127.0.0.1:{served.server_port}"

    yield start
    for served, thread in running:
        served.shutdown()
        served.server_close()
        thread.join()


@pytest.fixture(scope="package")
def site(serve: Callable[..., str], dist: Path) -> str:
    return serve(dist)


@pytest.fixture(scope="package")
def plain_site(serve: Callable[..., str], plain_dist: Path) -> str:
    return serve(plain_dist)


@pytest.fixture(scope="package")
def camera_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera films: grey waves that move, YUV4MPEG2."""
    width, height, rate = CAMERA
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    x = np.arange(width)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in range(rate):
            luma = 128 + 80 * np.sin((x + 4 * frame) / 5)
            file.write(b"FRAME\n" + np.tile(luma.astype(np.uint8), (height, 1)).tobytes())
            file.write(bytes([128]) * (width * height // 2))
    return path


@pytest.fixture(scope="package")
def chromium(driver: Any, camera_file: Path) -> Iterator[Chromium]:
    """One with a fake camera, and videos that play without a click; the engine is JavaScript."""
    flags = [
        *WITHOUT_GPU,
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera_file}",
        "--autoplay-policy=no-user-gesture-required",
    ]
    chromium = Chromium(driver, flags)
    yield chromium
    chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """visit(address, script, **context) opens a page in a context of its own, after a script, and
    waits for its sample.

    An uncaught error, a violation of the policy or a request to anyone but the page's own server
    fails the test."""
    contexts, faults = [], []

    def opened(address: str, script: str = "", ready: str = READY, **options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(SLOWEST * 1000)
        contexts.append(context)
        page = context.new_page()
        if script:
            page.add_init_script(script)
        origin = "/".join(address.split("/")[:3])
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: "Policy" in m.text and faults.append(m.text))
        context.on("request", lambda r: faults.append(r.url) if foreign(r.url, origin) else None)
        page.goto(address)
        if ready:
            page.wait_for_selector(ready)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults, faults


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name}: {old}"
    file.write_text(text.replace(old, new))


def foreign(url: str, origin: str) -> bool:
    return not url.startswith((f"{origin}/", "blob:", "data:"))


def until(page: Any, expression: str, seconds: float = SLOWEST) -> None:
    """Wait for a JavaScript expression to be true. (playwright's wait_for_function is `eval`,
    which the policy forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(f"() => {expression}"):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(30)


def canvas(page: Any, selector: str) -> np.ndarray:
    """(h,w,3) uint8 of what a canvas holds."""
    return decoded(page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))


def decoded(url: str) -> np.ndarray:
    """(h,w,3) uint8 of a data URL of a PNG."""
    return pixels(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def pixels(file: Path | io.BytesIO) -> np.ndarray:
    """(h,w,3) uint8 of an image file."""
    return np.array(Image.open(file).convert("RGB"))


def restored(weights: Path | str, lr: np.ndarray) -> np.ndarray:
    """What torch makes of (h,w,3) uint8."""
    return Enhancer(weights, backend="torch", device="cpu", precision="fp32")(lr)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    """The largest, in levels of 0 to 255."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())
