"""For everybody: contrast, names, sizes of what is touched, small screens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Visit = Callable[..., Any]
AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
LATE = """
const early = fetch;
globalThis.fetch = async (...all) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    return early(...all);
};
"""
PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["/", "/?benchmark", "/example.html"])
def test_axe_finds_no_violation(visit: Visit, plain_site: str, scheme: str, address: str) -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install --prefix tests/web")
    options = {} if address == "/" else {"ready": ""}
    page = visit(plain_site + address, color_scheme=scheme, **options)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    told = [(v["id"], [node["html"] for node in v["nodes"]]) for v in found]
    assert not told


def test_dark_and_light_differ(visit: Visit, plain_site: str) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    light, dark = (
        visit(plain_site, ready="h1", color_scheme=scheme).evaluate(back)
        for scheme in ("light", "dark")
    )
    assert light != dark


def test_phone_sees_all_without_scrolling_sideways_and_can_touch_it(
    visit: Visit, plain_site: str
) -> None:
    page = visit(plain_site, viewport=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for control in page.query_selector_all("button, select, .button, input[type=range]"):
        if box := control.bounding_box():
            assert box["height"] >= 44, control.evaluate("e => e.outerHTML")
            assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


def test_actual_pixels_show_one_pixel_of_the_output_as_one_of_the_screen(
    visit: Visit, plain_site: str
) -> None:
    page = visit(plain_site, viewport=PHONE, device_scale_factor=2)
    page.click("#zoom")
    assert page.locator("#after").bounding_box()["width"] == pytest.approx(400 / 2, abs=0.5)
    assert page.get_attribute("#zoom", "aria-pressed") == "true"


@pytest.mark.parametrize("student", ["random", "same"])
def test_benchmark_is_shown_and_copied(visit: Visit, plain_site: str, student: str) -> None:
    """Also where the list of students comes late: Start waits for it."""
    page = visit(
        f"{plain_site}/?benchmark&student={student}&engine=wasm&size=320x180",
        LATE,
        ready="#start",
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.click("#start")
    page.wait_for_selector("#status:has-text('Done.')")
    page.click("#copy")
    page.wait_for_selector("#status:has-text('Copied.')")
    result = page.evaluate("navigator.clipboard.readText().then(JSON.parse)")
    assert "Chrome" in result["machine"]["browser"]
    [row] = result["rows"]
    assert (row["engine"], row["student"], row["width"]) == ("wasm", student, 320)
    assert row["difference"] <= 1
    assert row["frameMs"] > 0
    assert page.text_content("tbody tr td:nth-child(3)").startswith("320")
