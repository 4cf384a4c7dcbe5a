"""No engine that computes something else, or cannot start, is used; what is lost is replaced."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.page.conftest import NO_ENGINE

Visit = Callable[..., Any]
Serve = Callable[..., str]

# The reference, but for a black output: the commonest failure of GPU drivers.
BLACK = """
import { create as createReference } from "./wasm.js";
export async function create(model, options) {
  const engine = await createReference(model, options);
  engine.read = async () => new ImageData(engine.canvas.width, engine.canvas.height);
  return engine;
}
"""


def copied(plain_dist: Path, tmp_path: Path, **engines: str) -> Path:
    """The page with these engines (name=JavaScript)."""
    shutil.copytree(plain_dist, tmp_path / "dist")
    for name, text in engines.items():
        (tmp_path / "dist" / "engines" / f"{name}.js").write_text(text)
    return tmp_path / "dist"


def test_engine_with_black_output_is_refused_and_named(
    visit: Visit, serve: Serve, plain_dist: Path, tmp_path: Path
) -> None:
    page = visit(serve(copied(plain_dist, tmp_path, webgpu=BLACK)))
    page.wait_for_selector("#status:has-text('on wasm')")
    assert page.text_content("#trouble") == "", "nobody asked for it"
    page.select_option("#engine", "webgpu")
    page.wait_for_selector(
        "#trouble:text-matches('webgpu cannot be used: its output here is [0-9]+ levels from')"
    )
    page.wait_for_selector("#status:has-text('on wasm')")


def test_unsupported_engine_is_said_and_another_is_used(visit: Visit, plain_site: str) -> None:
    page = visit(plain_site)
    page.select_option("#engine", "webgl2")
    page.wait_for_selector("#trouble:has-text('webgl2 cannot be used: not in this test')")
    page.wait_for_selector("#status:has-text('on wasm')")


def test_browser_without_any_engine_is_told_each_reason(
    visit: Visit, serve: Serve, plain_dist: Path, tmp_path: Path
) -> None:
    page = visit(serve(copied(plain_dist, tmp_path, wasm=NO_ENGINE)), ready="")
    page.wait_for_selector("#trouble:has-text('No engine works in this browser.')")
    trouble = page.text_content("#trouble")
    assert all(f"{name}: not in this test" in trouble for name in ("webgpu", "webgl2", "wasm"))


def test_device_that_cannot_be_had_again_gives_way_to_the_next_engine(
    visit: Visit, plain_site: str
) -> None:
    """By the module alone: an engine that is lost and then refuses to start."""
    page = visit(plain_site, ready="")
    seen = page.evaluate(
        """async () => {
            const { Enhancer } = await import("/kd-web.js");
            const enhancer = await Enhancer.load("/models/random.kdw");
            const canvas = new OffscreenCanvas(1, 1);
            const frame = new OffscreenCanvas(9, 7);
            frame.getContext("2d").fillRect(0, 0, 9, 7);
            await enhancer.process(frame, canvas);
            const recovered = [];
            enhancer.addEventListener("recovered", ({ detail }) => recovered.push(detail));
            referenceEngines.at(-1).lose();
            await enhancer.process(frame, canvas);
            globalThis.refuseReference = true;
            referenceEngines.at(-1).lose();
            const error = await enhancer.process(frame, canvas).catch((error) => error.message);
            return { recovered, error, size: [canvas.width, canvas.height] };
        }"""
    )
    assert seen["recovered"] == [{"engine": "wasm", "reason": "lost by the test"}]
    assert seen["error"].startswith("No engine works any more")
    assert seen["size"] == [18, 14]
