"""What the page may load: nothing from others, no eval; and how little it weighs."""

import gzip
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import UserError
from tests.web.page.conftest import foreign
from web.policy import HEADERS, POLICY
from web.serve import Handler, server

Visit = Callable[..., Any]
MOST_BYTES = 200_000
ATTACKS = {
    "request": "fetch('https://example.org/')",
    "eval": "Promise.resolve().then(() => eval('1'))",
    "script": """new Promise((resolve, reject) => {
        const script = document.createElement("script");
        [script.src, script.onload, script.onerror] = ["https://example.org/", resolve, reject];
        document.body.append(script);
    })""",
}


class WithoutHeaders(Handler):
    """A plain file server, which sends types only."""

    headers_sent = {}  # noqa: RUF012


@pytest.mark.parametrize("handler", [Handler, WithoutHeaders], ids=["header", "meta"])
def test_policy_blocks_others_and_eval(
    browser: Any, serve: Callable[..., str], plain_dist: Path, handler: type[Handler]
) -> None:
    address = serve(plain_dist, handler)
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(address)
    assert ("content-security-policy" in answer.headers) == (handler is Handler)
    page.wait_for_selector("#status:has-text(' on ')")  # what it needs, it may
    for name, attack in ATTACKS.items():
        # A function of the page's own: what a test evaluates is outside the policy.
        blocked = page.evaluate(
            f"""new Promise((resolve) => {{
                setTimeout(() => {{
                    ({attack}).then(() => resolve(false), () => resolve(true));
                }});
            }})"""
        )
        assert blocked, name
    context.close()


def test_policy_names_no_other_site_and_starts_from_nothing() -> None:
    assert POLICY.startswith("default-src 'none'; ")
    assert "http" not in POLICY
    assert "'unsafe-inline'" not in POLICY
    assert "'unsafe-eval'" not in POLICY
    assert HEADERS["Content-Security-Policy"].startswith(POLICY)


def test_each_page_states_the_policy_before_anything_is_loaded(dist: Path) -> None:
    for page in dist.glob("*.html"):
        text = page.read_text()
        stated = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        assert stated is not None, page.name
        assert stated[1] == POLICY
        first = min(text.index(tag) for tag in ("<link", "<script"))
        assert stated.start() < first


def test_a_request_to_others_would_be_noticed() -> None:
    origin = "http://127.0.0.1:8000"
    assert foreign("https://example.org/a.js", origin)
    assert foreign("http://127.0.0.1:80001/a.js", origin)
    assert not foreign(f"{origin}/a.js", origin)


def test_page_with_its_first_student_is_small(dist: Path) -> None:
    files = [path for path in dist.rglob("*") if path.is_file() and path.suffix != ".kdw"]
    files = [path for path in files if not path.name.endswith(".d.ts")]
    files.append(dist / "models" / "student_tiny.kdw")
    size = sum(len(gzip.compress(path.read_bytes(), 9, mtime=0)) for path in files)
    assert size <= MOST_BYTES, f"{size} bytes compressed"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.html", "text/html"), ("a.js", "text/javascript"), ("a.wasm", "application/wasm")],
)
def test_server_sends_the_types_that_modules_and_webassembly_need(
    serve: Callable[..., str], tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / name).write_text("")
    with urllib.request.urlopen(f"{serve(tmp_path)}/{name}") as answer:
        assert answer.headers.get_content_type() == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_port_that_cannot_be_had_is_one_line_with_the_option(tmp_path: Path) -> None:
    with server(tmp_path) as other:
        trouble = {other.server_port: "Address already in use", 99999: "there is no such port"}
        for port, reason in trouble.items():
            with pytest.raises(UserError) as raised:
                server(tmp_path, port)
            assert (
                str(raised.value) == f"--port {port}: {reason}; give another, or 0 for a free one"
            )
