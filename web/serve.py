"""Serve web/dist, built if need be, on this machine: `python -m web.serve --port 8000`."""

import argparse
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError
from web.policy import HEADERS

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    "": "application/octet-stream",
}


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder with the types that modules and WebAssembly need, and the policy."""

    extensions_map = TYPES
    headers_sent: dict[str, str] = HEADERS

    def end_headers(self) -> None:
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")  # a new build shows at once
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not news; errors are seen in the browser."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def server(folder: Path, port: int = 0, handler: type[Handler] = Handler) -> Server:
    """A server of `folder` on 127.0.0.1 that has yet to run; port 0 takes a free one. UserError
    where the port cannot be had."""
    try:
        return Server(("127.0.0.1", port), partial(handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "there is no such port"
        raise UserError(f"--port {port}: {reason}; give another, or 0 for a free one") from None


def main() -> int:
    parser = argparse.ArgumentParser("web.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="of http://127.0.0.1")
    options = parser.parse_args()
    # Only a build needs torch.
    from web.build import DIST, build, stale

    try:
        if stale():
            print("building web/dist ...", flush=True)
            build()
        served = server(DIST, options.port)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"http://127.0.0.1:{served.server_port}/ (end with Ctrl-C)", flush=True)
    try:
        served.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
