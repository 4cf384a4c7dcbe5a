"""The dashboard in a browser, opened from disk."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kd_lightning.runs.benchmark import read_benchmark
from kd_lightning.runs.dashboard import page as page_of
from tests.commands.test_dashboard import watching
from tests.run_folders.test_dashboard import hostile
from tests.runs import ROOT

EXPERIMENTS = ROOT / "experiments"
SECOND = 1000.0  # milliseconds
WAIT = 30_000.0  # milliseconds until a watched page has loaded itself again
Opener = Callable[..., Any]
FILTERS = {
    "small_runs alpha_": {f"small_runs/alpha_{alpha}" for alpha in ("0.5", "0.7", "1")},
    "small_runs alpha=0.7": {"small_runs/alpha_0.7"},
    "loss.alpha<0.7": {"small_runs/alpha_0.5"},
    "set5/psnr_y>=37.5": {"students/student_fast_long"},
    "state=stopped": {"call/call_teacher_2"},
}
VIOLATIONS = """
window.violations = [];
const broken = (event) => violations.push(event.violatedDirective);
document.addEventListener("securitypolicyviolation", broken);
"""


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing in it runs, however new the checkout is."""
    file = tmp_path_factory.mktemp("page") / "dashboard.html"
    methods = read_benchmark(EXPERIMENTS / "benchmark" / "benchmark.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kd_lightning.runs.dashboard.ALIVE", 0.0)
        file.write_text(page_of([EXPERIMENTS], methods))
    return file


@pytest.fixture
def opened(browser: Any) -> Iterator[Opener]:
    """Opens a page from disk; errors, dialogs, requests and breaches of its policy fail."""
    context = browser.new_context()
    context.add_init_script(VIOLATIONS)
    found: list[str] = []

    def open_page(file: Path, **options: Any) -> Any:
        page = context.new_page()
        page.emulate_media(color_scheme=options.get("scheme", "light"))
        page.on("pageerror", lambda error: found.append(str(error)))
        page.on("dialog", lambda dialog: (found.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or found.append(r.url))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    found += [each for page in context.pages for each in page.evaluate("violations")]
    context.close()
    assert not found, found


def texts(page: Any, selector: str) -> list[str]:
    return [element.strip() for element in page.locator(selector).all_text_contents()]


def test_thirty_runs_can_be_used_within_a_second(experiments: Path, opened: Opener) -> None:
    """The best of three: other programs use the machine too."""
    ready = []
    for _ in range(3):
        page = opened(experiments)
        ready.append(float(page.get_attribute("html", "data-ready")))
        assert page.locator("#table tbody tr").count() >= 30
        if ready[-1] < SECOND:
            break
    assert min(ready) < SECOND


def test_table_sorts_by_mouse_and_by_keyboard(experiments: Path, opened: Opener) -> None:
    page = opened(experiments)
    page.click("button[data-sort='set5/psnr_y']")
    cells = texts(page, f"#table tbody tr > :nth-child({column(page, 'set5 PSNR-Y ▼')})")
    scores = [float(cell) for cell in cells if cell]
    assert scores == sorted(scores, reverse=True)
    assert cells[: len(scores)] == [cell for cell in cells if cell]  # those without come last
    page.focus("button[data-sort='set5/psnr_y']")
    page.keyboard.press("Enter")
    cells = texts(page, f"#table tbody tr > :nth-child({column(page, 'set5 PSNR-Y ▲')})")
    again = [float(cell) for cell in cells if cell]
    assert again == sorted(scores)
    assert page.evaluate("document.activeElement.dataset.sort") == "set5/psnr_y"
    assert page.locator("th[aria-sort=ascending]").count() == 1


def test_filter_leaves_the_runs_that_it_describes(experiments: Path, opened: Opener) -> None:
    page = opened(experiments)
    for words, expected in FILTERS.items():
        page.fill("#filter", words)
        assert set(texts(page, "#table tbody th")) == expected
        assert texts(page, "#count")[0].startswith(f"{len(expected)} of ")
        assert page.locator("#parallel-plot path.run").count() == len(expected)


def test_chosen_runs_are_compared_and_outlive_a_reload(experiments: Path, opened: Opener) -> None:
    page = opened(experiments)
    page.click("#none")
    page.fill("#filter", "small_runs/alpha_")
    page.click("#all")
    page.select_option("#curve-choices select >> nth=0", "train/loss")
    for _ in range(2):
        assert page.locator("#curve path.line").count() == 3
        assert len(texts(page, "#legend li")) == 3
        rows = {row.split("\n")[0] for row in page.locator("#config tbody tr").all_inner_texts()}
        keys = {row.split("\t")[0].removeprefix("≠ ").strip() for row in rows}
        assert "loss.alpha" in keys
        assert "optimizer.lr" not in keys  # the same in all three
        page.reload()
        page.wait_for_selector("html[data-ready]")
    page.get_by_label("only what differs").uncheck()
    assert "optimizer.lr" in " ".join(page.locator("#config tbody th").all_inner_texts())
    assert page.locator("#config tr:not(.differs)").count() > 20


def test_arrow_keys_read_the_curves(experiments: Path, opened: Opener) -> None:
    page = opened(experiments)
    page.select_option("#curve-choices select >> nth=0", "train/loss")
    before = texts(page, "#legend .value")
    page.focus("#curve svg")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert texts(page, "#legend .value") != before


def test_dragging_along_an_axis_narrows_the_filter(experiments: Path, opened: Opener) -> None:
    page = opened(experiments)
    band = page.locator("#parallel-plot rect.band").last
    band.scroll_into_view_if_needed()
    box = band.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3, steps=3)
    page.mouse.up()
    assert ">=" in page.input_value("#filter")
    left = page.locator("#table tbody tr").count()
    assert 0 < left < 58
    assert page.locator("#parallel-plot path.run").count() == left


def test_dragging_over_a_whole_axis_leaves_every_run_that_has_a_value(
    experiments: Path, opened: Opener
) -> None:
    page = opened(experiments)
    rows, bands = page.locator("#table tbody tr"), page.locator("#parallel-plot rect.band")
    for number in range(bands.count()):
        page.fill("#filter", "")
        bands.nth(number).scroll_into_view_if_needed()
        box = bands.nth(number).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 1)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 1, steps=3)
        page.mouse.up()
        key, found, _ = page.input_value("#filter").partition(">=")
        left = rows.count()
        page.fill("#filter", f"{key}>=-1e9")
        assert found and left == rows.count() > 1, key


def test_front_is_that_of_the_benchmark(experiments: Path, opened: Opener) -> None:
    import json

    from kd_lightning.benchmark.report import pareto, quality_time

    result = json.loads((EXPERIMENTS / "benchmark" / "benchmark.json").read_text())
    page = opened(experiments)
    page.select_option("#trade-choices select >> nth=0", next(iter(result["quality"])))
    assert set(texts(page, "#trade g.best text")) == set(pareto(quality_time(result)))


def test_one_slider_moves_the_images_of_all_chosen_runs(tmp_path: Path, opened: Opener) -> None:
    for name, first in (("a", 0), ("b", 5)):
        run = tmp_path / "logs" / name
        shutil.copytree(EXPERIMENTS / "small_runs" / "alpha_0.5", run)
        (run / "images").mkdir()
        for epoch in range(first, 20, 5):
            image = Image.new("RGB", (8, 8), (epoch, 0, 0))
            image.save(run / "images" / f"val_0801_epoch_{epoch:04d}.png")
    (tmp_path / "page.html").write_text(page_of([tmp_path / "logs"]))
    page = opened(tmp_path / "page.html")
    assert texts(page, "#image figcaption") == ["a, epoch 15", "b, epoch 15"]
    page.focus("#epoch")
    page.keyboard.press("ArrowLeft")
    assert texts(page, "#image figcaption") == ["a, epoch 10", "b, epoch 10"]
    widths = page.evaluate(
        "[...document.querySelectorAll('#image img')].map((i) => i.naturalWidth)"
    )
    assert widths == [8, 8]


def test_a_watched_page_follows_a_run_that_writes_and_keeps_what_was_chosen(
    tmp_path: Path, opened: Opener
) -> None:
    from playwright.sync_api import expect

    logs, file = tmp_path / "logs", tmp_path / "page.html"
    for name, alpha in (("first", "0.5"), ("other", "1")):
        shutil.copytree(EXPERIMENTS / "small_runs" / f"alpha_{alpha}", logs / name)
    curves = logs / "first" / "metrics.csv"
    whole = curves.read_text()
    curves.write_text("".join(whole.splitlines(keepends=True)[:40]))
    with watching(logs, file):
        page = opened(file)
        page.fill("#filter", "alpha<1")
        steps = page.locator(f"#table tbody tr > :nth-child({column(page, 'steps')})")
        before = int(steps.inner_text())
        curves.write_text(whole)
        shutil.copytree(EXPERIMENTS / "small_runs" / "alpha_0.7", logs / "second")
        expect(page.locator("#table tbody th")).to_have_text(["first", "second"], timeout=WAIT)
        expect(steps.first).not_to_have_text(str(before), timeout=WAIT)
        expect(page.locator("#filter")).to_have_value("alpha<1")
        page.close()  # it goes on loading itself


def column(page: Any, label: str) -> int:
    """The place of a column of the table, from 1."""
    return texts(page, "#table thead th").index(label) + 1


def test_a_hostile_run_folder_is_shown_as_text(tmp_path: Path, opened: Opener) -> None:
    (tmp_path / "page.html").write_text(page_of([hostile(tmp_path / "logs")]))
    page = opened(tmp_path / "page.html")
    assert page.locator("body img").count() == 0
    assert page.locator("script").count() == 2
    assert "<img src=x onerror=alert(1)>" in texts(page, "#table tbody th")[0].replace("_", "/")
    page.get_by_label("only what differs").uncheck()
    assert "<img src=x onerror=alert(1)>" in texts(page, "#config")[0]
    assert "<img src=x onerror=alert(1)>" in texts(page, "#damaged")[0].replace("_", "/")


def test_dark_and_light_are_readable(experiments: Path, opened: Opener) -> None:
    """Contrast of text by WCAG 2.2 (1.4.3): 4.5 to 1 at least."""
    for scheme in ("light", "dark"):
        page = opened(experiments, scheme=scheme)
        for selector in ("#table td", "#count", "#table td.finished", "nav a"):
            assert contrast(page, selector) >= 4.5, (scheme, selector)
        page.click("#theme")
        assert (
            page.get_attribute("html", "data-theme") == {"light": "dark", "dark": "light"}[scheme]
        )
        assert contrast(page, "#count") >= 4.5


def contrast(page: Any, selector: str) -> float:
    colors = page.evaluate(
        """(selector) => {
          const style = getComputedStyle(document.querySelector(selector));
          const ground = getComputedStyle(document.querySelector("section")).backgroundColor;
          const numbers = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
          return [numbers(style.color), numbers(ground)];
        }""",
        selector,
    )
    light, dark = sorted((luminance(color) for color in colors), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: list[float]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
