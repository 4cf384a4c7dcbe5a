"""The download client against a local server that misbehaves on purpose."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kd_lightning.download import download, home
from kd_lightning.errors import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT; ``cut`` connections end early, ``ranges`` off ignores Range headers."""

    def __init__(self):
        self.requests = []
        self.cut = 0
        self.ranges = True
        self.body = CONTENT
        self.status = 200
        self.length = True
        self.kind = "application/octet-stream"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                outer.requests.append(asked)
                if outer.status != 200:
                    self.send_error(outer.status)
                    return
                body, status = outer.body, 200
                if asked and outer.ranges:
                    start = int(asked.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(body):
                        self.send_error(416)
                        return
                    body, status = body[start:], 206
                self.send_response(status)
                if outer.length:
                    self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", outer.kind)
                self.end_headers()
                if outer.cut:
                    outer.cut -= 1
                    body = body[: len(body) // 2]
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/weights.pth"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_whole_file_gets_its_name_and_is_not_fetched_twice(server, tmp_path):
    path = tmp_path / "cache" / "weights.pth"
    for _ in range(2):
        download(server.url, path, size=len(CONTENT), sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["weights.pth"]


def test_cut_connection_is_resumed_where_it_ended(server, tmp_path):
    server.cut = 2
    path = download(server.url, tmp_path / "w.pth", sha256=SHA256, pause=0)
    assert path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.requests == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_part_of_an_earlier_process_is_continued(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:1000])
    download(server.url, tmp_path / "w.pth", sha256=SHA256)
    assert server.requests == ["bytes=1000-"]
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_complete_part_only_gets_its_name(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "w.pth", sha256=SHA256).read_bytes() == CONTENT


def test_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "w.pth.part").write_bytes(b"x" * 1000)
    assert download(server.url, tmp_path / "w.pth", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "expected", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"size": len(CONTENT) + 1}]
)
def test_wrong_file_is_refused_and_leaves_nothing(server, tmp_path, expected):
    with pytest.raises(UserError, match="expected") as caught:
        download(server.url, tmp_path / "w.pth", **expected)
    assert server.url in str(caught.value) and str(tmp_path / "w.pth") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_page_instead_of_a_file_is_refused(server, tmp_path):
    server.body = b"<html>Sign in</html>"
    with pytest.raises(UserError, match="has 20 bytes, expected 256000"):
        download(server.url, tmp_path / "w.pth", size=len(CONTENT), sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html>Sign in</html>", "application/octet-stream"),
        (b"<HTML>404</HTML>", "text/plain"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "application/xml"),
        (b"Sign in", "text/html; charset=utf-8"),
    ],
)
def test_a_page_is_refused_where_neither_size_nor_hash_is_known(server, tmp_path, body, kind):
    server.body, server.kind = body, kind
    with pytest.raises(UserError, match=r"is a web page, not the file.*by other means"):
        download(server.url, tmp_path / "w.pth", pause=0)
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_may_be_cut_is_refused_where_neither_size_nor_hash_is_known(server, tmp_path):
    server.length = False
    server.cut = 1
    with pytest.raises(UserError, match="may be cut"):
        download(server.url, tmp_path / "w.pth", pause=0)
    assert list(tmp_path.iterdir()) == []
    assert download(server.url, tmp_path / "w.pth", sha256=SHA256).read_bytes() == CONTENT


def test_an_empty_body_is_refused_where_neither_size_nor_hash_is_known(server, tmp_path):
    server.body = b""
    with pytest.raises(UserError, match="is empty"):
        download(server.url, tmp_path / "w.pth", pause=0)


def test_a_part_of_who_knows_what_is_not_continued(server, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(b"x" * 1000)
    server.cut = 1
    assert download(server.url, tmp_path / "w.pth", pause=0).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={len(CONTENT) // 2}-"]


def test_not_found_is_one_line_with_url_hash_and_place(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError) as caught:
        download(server.url, tmp_path / "w.pth", sha256=SHA256)
    message = str(caught.value)
    assert "HTTP 404" in message and "\n" not in message
    assert all(part in message for part in (server.url, SHA256, str(tmp_path / "w.pth")))
    assert len(server.requests) == 1


def test_server_errors_are_retried_then_reported(server, tmp_path):
    server.status = 503
    with pytest.raises(UserError, match="HTTP 503"):
        download(server.url, tmp_path / "w.pth", pause=0)
    assert len(server.requests) == 5


def test_offline_is_one_line_with_url_hash_and_place(server, tmp_path):
    server.http.server_close()
    with pytest.raises(UserError) as caught:
        download(server.url, tmp_path / "w.pth", sha256=SHA256, pause=0)
    assert all(part in str(caught.value) for part in (server.url, SHA256, str(tmp_path)))


def test_home_moves_with_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KD_LIGHTNING_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("KD_LIGHTNING_HOME")
    assert home().name == "kd_lightning" and home().is_absolute()
