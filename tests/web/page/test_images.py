"""An image goes in, is compared by the slider, and comes out as a file."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web.page.conftest import canvas, difference, pixels, restored, until

Visit = Callable[..., Any]
LATE_SAMPLE = """
const fetched = fetch;
globalThis.fetch = async (...all) => {
    const held = (resolve) => (globalThis.sendSample = resolve);
    if (String(all[0]).includes("sample")) await new Promise(held);
    return fetched(...all);
};
"""
SIZE = ":text-matches('47 . 33 to 94 . 66')"


@pytest.fixture
def face(photo: np.ndarray, tmp_path: Path) -> Path:
    """An image file of odd height and width."""
    path = tmp_path / "face.png"
    Image.fromarray(photo[100:133, 200:247]).save(path)
    return path


def test_downloaded_image_is_what_torch_makes_of_it(
    visit: Visit, plain_site: str, weights: Path, face: Path
) -> None:
    page = visit(plain_site)
    page.set_input_files("#file", face)
    page.wait_for_selector(f"#status{SIZE}")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "face_x2.png"
    found = pixels(Path(download.value.path()))
    assert difference(found, restored(weights, pixels(face))) <= 2


@pytest.mark.parametrize(("student", "scale"), [("student_tiny", 2), ("call_tiny_x1", 1)])
def test_shipped_student_of_the_chosen_scale_equals_torch(
    visit: Visit, site: str, photo: np.ndarray, tmp_path: Path, student: str, scale: int
) -> None:
    lr = photo[60:161, 140:287]
    Image.fromarray(lr).save(tmp_path / "face.png")
    page = visit(site)
    options = page.query_selector_all("#scale option")
    assert [option.get_attribute("value") for option in options] == ["2", "1"]
    page.set_input_files("#file", tmp_path / "face.png")
    page.wait_for_selector("#status:text-matches('147 . 101 to 294 . 202')")
    page.select_option("#scale", str(scale))
    size = f"{147 * scale} . {101 * scale}"
    page.wait_for_selector(f"#status:text-matches('147 . 101 to {size} .*{student} on')")
    assert difference(canvas(page, "#before"), lr) == 0
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == f"face_x{scale}.png"
    found = pixels(Path(download.value.path()))
    assert found.shape == (101 * scale, 147 * scale, 3)
    assert difference(found, restored(student, lr)) <= 2


@pytest.mark.parametrize(
    ("event", "transfer"), [("drop", "dataTransfer"), ("paste", "clipboardData")]
)
def test_image_is_dropped_or_pasted(
    visit: Visit, plain_site: str, face: Path, event: str, transfer: str
) -> None:
    page = visit(plain_site)
    put(page, face, event, transfer)
    page.wait_for_selector(f"#status{SIZE}")


def put(page: Any, file: Path, event: str, transfer: str) -> None:
    """Drop or paste an image."""
    kind = {"drop": "DragEvent", "paste": "ClipboardEvent"}[event]
    page.evaluate(
        f"""code => {{
            const bytes = Uint8Array.from(atob(code), (letter) => letter.charCodeAt(0));
            const held = new DataTransfer();
            held.items.add(new File([bytes], "face.png", {{ type: "image/png" }}));
            const options = {{ {transfer}: held, bubbles: true, cancelable: true }};
            document.body.dispatchEvent(new {kind}("{event}", options));
        }}""",
        base64.b64encode(file.read_bytes()).decode(),
    )


def test_sample_that_comes_late_does_not_take_the_place_of_what_was_opened(
    visit: Visit, plain_site: str, face: Path
) -> None:
    page = visit(plain_site, LATE_SAMPLE, ready="#status:text-matches('^random on')")
    put(page, face, "paste", "clipboardData")
    page.wait_for_selector(f"#status{SIZE}")
    page.evaluate("sendSample()")
    page.wait_for_timeout(500)
    assert page.is_visible(f"#status{SIZE}")


def test_transparent_parts_lie_on_white(visit: Visit, plain_site: str, tmp_path: Path) -> None:
    image = np.full((24, 20, 4), (200, 30, 30, 255), np.uint8)
    image[:12, :, 3] = 0
    Image.fromarray(image).save(tmp_path / "half.png")
    page = visit(plain_site)
    page.set_input_files("#file", tmp_path / "half.png")
    page.wait_for_selector("#status:text-matches('20 . 24')")
    shown = canvas(page, "#before")
    assert (shown[:12] == 255).all()
    assert (shown[12:] == (200, 30, 30)).all()


def test_slider_moves_by_mouse_keyboard_and_touch(visit: Visit, plain_site: str) -> None:
    page = visit(plain_site, has_touch=True)
    split = (
        "parseFloat(getComputedStyle(document.querySelector('#stage')).getPropertyValue('--split'))"
    )
    cut = "getComputedStyle(document.querySelector('#after')).clipPath"
    assert page.evaluate(split) == 50
    box = page.locator("#stage").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=3)
    page.mouse.up()
    assert page.evaluate(split) == pytest.approx(25, abs=1)
    page.mouse.move(box["x"] + box["width"] * 0.9, middle)
    assert page.evaluate(split) == pytest.approx(25, abs=1), "it follows a pressed button only"
    page.focus("#split")
    page.keyboard.press("End")
    assert page.evaluate(split) == 100
    assert "100%" in page.evaluate(cut)
    page.touchscreen.tap(box["x"] + box["width"] * 0.75, middle)
    assert page.evaluate(split) == pytest.approx(75, abs=1)
    assert page.get_attribute("#split", "aria-valuetext").startswith("75%")


def test_what_is_no_image_is_said_and_the_page_goes_on(
    visit: Visit, plain_site: str, face: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    page = visit(plain_site)
    page.set_input_files("#file", tmp_path / "notes.txt")
    page.wait_for_selector("#trouble:has-text('notes.txt: this browser cannot read it')")
    page.set_input_files("#file", face)
    page.wait_for_selector(f"#status{SIZE}")
    assert page.text_content("#trouble") == ""


def test_another_student_restores_what_is_open(visit: Visit, plain_site: str, face: Path) -> None:
    page = visit(plain_site)
    page.set_input_files("#file", face)
    page.wait_for_selector(f"#status{SIZE}")
    current = page.input_value("#student")
    name = "other" if current == "random.kdw" else "random"
    page.select_option("#student", f"{name}.kdw")
    page.wait_for_selector(f"#status{SIZE}:has-text('{name} on')")


# The engine in use goes on with its next frame when `go()` is called.
HELD = """() => {
    const engine = referenceEngines.at(-1);
    const { process } = engine;
    engine.process = async (source) => {
        await new Promise((resolve) => (globalThis.go = resolve));
        await process(source);
    };
}"""


def test_another_scale_while_the_student_is_at_work_leaves_nothing_of_the_former(
    visit: Visit, plain_site: str, same_size: Path, face: Path
) -> None:
    page = visit(plain_site)
    page.set_input_files("#file", face)
    page.wait_for_selector(f"#status{SIZE}")
    page.evaluate(HELD)
    page.set_input_files("#file", face)
    until(page, "!!globalThis.go")
    page.select_option("#scale", "1")
    done = "#status:text-matches('47 . 33 to 47 . 33 in .* same on')"
    page.wait_for_selector(done)
    page.evaluate("go()")
    page.wait_for_timeout(300)
    assert page.is_visible(done)
    assert difference(canvas(page, "#after"), restored(same_size, pixels(face))) <= 2


@pytest.mark.parametrize("student", ["random", "same"])
def test_tiles_of_a_large_image_change_nothing(visit: Visit, plain_site: str, student: str) -> None:
    """Stitched by the page's own plan from tiles of 29 pixels."""
    page = visit(plain_site)
    worst = page.evaluate(
        """async (student) => {
            const { loadModel } = await import("/model.js");
            const { planTiles } = await import("/tiles.js");
            const { create } = await import("/engines/wasm.js");
            const model = await loadModel(`/models/${student}.kdw`);
            const { scale } = model;
            const image = await createImageBitmap(document.querySelector("#before"), 0, 0, 71, 50);
            const run = async (source, size) => {
                const engine = await create(model, size);
                await engine.process(source);
                return engine.read();
            };
            const whole = await run(image, image);
            const plan = planTiles(model, image, 29);
            let [worst, covered] = [0, 0];
            for (const { x, y, left, top, right, bottom } of plan.tiles) {
                const piece = await createImageBitmap(image, x, y, plan.width, plan.height);
                const part = await run(piece, plan);
                covered += (right - left) * (bottom - top);
                for (let row = scale * top; row < scale * bottom; row++) {
                    for (let column = scale * left; column < scale * right; column++) {
                        for (let c = 0; c < 3; c++) {
                            const a = whole.data[4 * (row * whole.width + column) + c];
                            const at = (row - scale * y) * part.width + column - scale * x;
                            worst = Math.max(worst, Math.abs(a - part.data[4 * at + c]));
                        }
                    }
                }
            }
            return { worst, covered, tiles: plan.tiles.length };
        }""",
        student,
    )
    assert worst["covered"] == 71 * 50
    assert worst["tiles"] > 4
    assert worst["worst"] == 0


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_tiles_cover_each_pixel_once_on_the_grid_with_their_halo(
    visit: Visit, plain_site: str, scale: int
) -> None:
    page = visit(plain_site, ready="")
    cases = [(w, h, side) for w in (1, 40, 64, 65, 127, 200) for h in (3, 66) for side in (64, 65)]
    plans = page.evaluate(
        """async ([scale, cases]) => {
            const { planTiles } = await import("/tiles.js");
            const model = { scale, radius: 19, factor: 2 };
            return cases.map(([width, height, side]) => planTiles(model, { width, height }, side));
        }""",
        [scale, cases],
    )
    halo = -(-19 // scale) + 2
    step = 2 if scale % 2 else 1
    for (width, height, side), plan in zip(cases, plans, strict=True):
        assert plan["width"] <= side and plan["height"] <= side, json.dumps(plan)
        seen = np.zeros((height, width), int)
        for tile in plan["tiles"]:
            seen[tile["top"] : tile["bottom"], tile["left"] : tile["right"]] += 1
            for at, low, high, extent, total in (
                (tile["x"], tile["left"], tile["right"], plan["width"], width),
                (tile["y"], tile["top"], tile["bottom"], plan["height"], height),
            ):
                assert at % step == 0
                assert at == 0 or low - at >= halo
                assert at + extent == total or at + extent - high >= halo
        assert (seen == 1).all()
