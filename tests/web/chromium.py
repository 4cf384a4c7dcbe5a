"""A headless Chromium, and a server of `web/` for it. Tests use the fixtures of conftest.py."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WEB = Path(__file__).parents[2] / "web"
NAMES = ("chromium", "chromium-browser", "google-chrome")

BASE = ["--no-sandbox", "--disable-dev-shm-usage"]  # Chromium asks for them as root, in containers
# As on a machine without a GPU: the browser draws on the processor.
WITHOUT_GPU = [*BASE, "--disable-gpu"]
# WebGPU and WebGL by SwiftShader, on the CPU: canvas and VideoFrame import need all of them.
SWIFTSHADER = [
    *BASE,
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
    "--use-angle=swiftshader",
    "--use-webgpu-adapter=swiftshader",
    "--ignore-gpu-blocklist",
]


def executable() -> str | None:
    """Where Chromium is, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """A headless Chromium that is started when it is asked for, and again when it is gone."""

    running: set["Chromium"] = set()  # noqa: RUF012

    def __init__(self, driver: Any, flags: Sequence[str]) -> None:
        """
        Args:
            driver: what `sync_playwright().start()` returns.
            flags: of its command line, SWIFTSHADER or WITHOUT_GPU among them.
        """
        self.driver = driver
        self.flags = flags
        self._browser: Any = None
        self._process = 0

    @property
    def browser(self) -> Any:
        """playwright's `Browser`."""
        if self._browser is None or not self._browser.is_connected():
            started = self.driver.chromium.launch(executable_path=executable(), args=[*self.flags])
            processes = started.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
            kinds = {process["type"]: process["id"] for process in processes["processInfo"]}
            self._browser, self._process = started, kinds["browser"]
            self.running.add(self)
        return self._browser

    def kill(self) -> None:
        """End it from any thread, also when it hangs: whoever waits for it gets an error."""
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)

    def close(self) -> None:
        self.running.discard(self)
        if self._browser is not None:
            self._browser.close()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Every Chromium is killed if the block takes longer, and the block fails.

    Raises:
        TimeoutError: it took longer; also where the block itself did not fail.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        for chromium in list(Chromium.running):
            chromium.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if late.is_set():
            raise TimeoutError(f"no end within {seconds:g} s: the browser was killed")


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and what `server.extra` (path -> content) adds to it; `server.headers` go
    with each answer."""

    extensions_map = {  # noqa: RUF012
        ".html": "text/html; charset=utf-8",
        ".css": "text/css",
        ".js": "text/javascript",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".png": "image/png",
        "": "application/octet-stream",
    }

    def do_GET(self) -> None:
        content = self.server.extra.get(self.path.split("?")[0])  # type: ignore[attr-defined]
        if content is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(self.path.split("?")[0]))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        for name, value in self.server.headers.items():  # type: ignore[attr-defined]
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(
    folder: Path, extra: dict[str, bytes] | None = None, headers: dict[str, str] | None = None
) -> Iterator[str]:
    """The address (http://127.0.0.1:PORT) of a server of `folder`, while the block runs. `extra`
    is read at each request: more may be put in later."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.extra = {} if extra is None else extra  # type: ignore[attr-defined]
    server.headers = headers or {}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
