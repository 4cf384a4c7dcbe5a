"""Videos and the camera: what is seen, heard, counted, refused and recovered."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.web.page.conftest import CAMERA, decoded, difference, restored, until
from tests.web.page.test_images import HELD, LATE_SAMPLE

Visit = Callable[..., Any]
# Both canvases when the same frame has been drawn into them.
CANVASES = "['#before', '#after'].map((id) => document.querySelector(id).toDataURL())"
PAIR = """new Promise((resolve) => {
    const { prototype } = CanvasRenderingContext2D;
    const draw = prototype.drawImage;
    prototype.drawImage = function (...all) {
        draw.apply(this, all);
        if (this.canvas.id !== "before") return;  // which is drawn last
        prototype.drawImage = draw;
        resolve(["#before", "#after"].map((id) => document.querySelector(id).toDataURL()));
    };
})"""
FRAMES = "referenceEngines.at(-1).frames > 1"
FIGURES = "document.querySelector('#figure-fps').textContent"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    """Two seconds of a pan over a photograph, with a tone."""
    av = pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    path = tmp_path_factory.mktemp("clip") / "pan.webm"
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libvpx", rate=10, width=64, height=48, pix_fmt="yuv420p")
        sound = file.add_stream("libopus", rate=48000, layout="mono")
        for number in range(20):
            image = photo[100:148, 150 + 2 * number : 214 + 2 * number]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            file.mux(picture.encode(frame))
        tone = np.sin(np.arange(2 * 48000) * 2 * np.pi * 440 / 48000)[None].astype(np.float32)
        samples = av.AudioFrame.from_ndarray(0.2 * tone, format="flt", layout="mono")
        samples.sample_rate = 48000
        file.mux(sound.encode(samples))
        for stream in (picture, sound):
            file.mux(stream.encode(None))
    return path


@pytest.fixture
def watched(visit: Visit, plain_site: str, clip: Path) -> Iterator[Any]:
    """The page while it plays the clip."""
    page = visit(plain_site)
    page.set_input_files("#file", clip)
    until(page, FRAMES)
    yield page


@pytest.fixture
def filmed(visit: Visit, plain_site: str) -> Iterator[Any]:
    """The page while it shows the fake camera."""
    page = visit(plain_site, permissions=["camera"])
    page.click("#camera")
    until(page, FRAMES)
    yield page


# The first frames have no source any more when they are taken, as at times when it changes.
WITHOUT_SOURCE = """let left = 2;
const Frame = VideoFrame;
globalThis.VideoFrame = class extends Frame {
    constructor(source, ...rest) {
        if (source instanceof HTMLVideoElement && left-- > 0) {
            throw new DOMException("Invalid source state", "InvalidStateError");
        }
        super(source, ...rest);
    }
};"""


def test_frames_that_are_gone_when_they_are_taken_do_not_end_the_camera(
    visit: Visit, plain_site: str
) -> None:
    page = visit(plain_site, WITHOUT_SOURCE, permissions=["camera"])
    page.click("#camera")
    until(page, FRAMES)


def test_video_frame_equals_torch_on_the_rgb_of_the_browser(watched: Any, weights: Path) -> None:
    watched.wait_for_selector("#status:text-matches('64 . 48 to 128 . 96')")
    watched.click("#play")
    watched.wait_for_selector("#play:has-text('Play')")
    before, after = map(decoded, watched.evaluate(CANVASES))
    assert before.shape == (48, 64, 3)
    assert before.std() > 20
    assert difference(after, restored(weights, before)) <= 2


def test_video_is_heard_paused_muted_and_sought(watched: Any) -> None:
    video = "document.querySelector('#video')"
    assert not watched.evaluate(f"{video}.muted")
    until(watched, f"{video}.webkitAudioDecodedByteCount > 0")
    watched.click("#mute")
    assert watched.evaluate(f"{video}.muted")
    watched.keyboard.press("Tab")
    watched.evaluate("document.activeElement.blur()")
    watched.keyboard.press("Space")
    until(watched, f"{video}.paused")
    watched.fill("#seek", "1.5")
    until(watched, f"Math.abs({video}.currentTime - 1.5) < 0.05")
    watched.wait_for_selector("#time:text-is('0:01 of 0:02')")


def test_video_at_the_same_size_equals_torch_and_keeps_it(watched: Any, same_size: Path) -> None:
    """It plays on while the scale is chosen."""
    watched.select_option("#scale", "1")
    watched.wait_for_selector("#status:text-matches('64 . 48 to 64 . 48. same on')")
    until(watched, "document.querySelector('#after').width == 64")
    watched.click("#play")
    watched.wait_for_selector("#play:has-text('Play')")
    watched.wait_for_timeout(300)
    before, after = map(decoded, watched.evaluate(CANVASES))
    assert after.shape == before.shape == (48, 64, 3)
    assert difference(after, restored(same_size, before)) <= 2


def test_another_student_restores_a_video_that_stands_still(watched: Any) -> None:
    watched.click("#play")
    watched.wait_for_selector("#play:has-text('Play')")
    watched.wait_for_timeout(300)
    watched.evaluate("document.querySelector('#after').width = 1")
    watched.select_option("#engine", "wasm")
    until(watched, "document.querySelector('#after').width == 128")


def test_another_student_restores_the_frame_in_view_of_a_video_whose_next_one_is_late(
    watched: Any,
) -> None:
    watched.evaluate("HTMLVideoElement.prototype.requestVideoFrameCallback = () => 0")
    watched.wait_for_timeout(300)
    watched.select_option("#scale", "1")
    until(watched, "document.querySelector('#after').width == 64")
    assert not watched.evaluate("document.querySelector('#video').paused")


def test_another_scale_while_a_paused_frame_is_worked_on_leaves_nothing_of_the_former(
    watched: Any, same_size: Path
) -> None:
    watched.evaluate(HELD)
    until(watched, "!!globalThis.go")
    watched.click("#play")
    watched.wait_for_selector("#play:has-text('Play')")
    watched.select_option("#scale", "1")
    watched.wait_for_selector("#status:text-matches('64 . 48 to 64 . 48. same on')")
    watched.wait_for_timeout(300)
    watched.evaluate("go()")
    watched.wait_for_timeout(300)
    before, after = map(decoded, watched.evaluate(CANVASES))
    assert difference(after, restored(same_size, before)) <= 2


def test_camera_frame_equals_torch_and_is_counted(filmed: Any, weights: Path) -> None:
    until(filmed, FIGURES)
    figures = filmed.evaluate(
        """Object.fromEntries([...document.querySelectorAll("#figures dd")].map(
            (item) => [item.id.replace("figure-", ""), Number(item.textContent)]))"""
    )
    assert 0 < figures["fps"] <= CAMERA[2] + 1
    stages = sum(figures[name] for name in ("import", "run", "draw"))
    assert figures["total"] == pytest.approx(stages, abs=0.3)
    assert figures["dropped"] >= 0
    before, after = filmed.evaluate(PAIR)
    assert difference(decoded(after), restored(weights, decoded(before))) <= 2
    filmed.click("#camera")
    filmed.wait_for_selector("#status:text-matches('200 . 112 to')")
    assert filmed.evaluate("document.querySelector('#video').srcObject") is None


def test_camera_at_the_same_size_equals_torch_and_keeps_it(filmed: Any, same_size: Path) -> None:
    filmed.select_option("#scale", "1")
    width, height, _ = CAMERA
    filmed.wait_for_selector(f"#status:text-matches('{width} . {height} to {width} . {height}')")
    until(filmed, FRAMES)
    before, after = map(decoded, filmed.evaluate(PAIR))
    assert after.shape == before.shape == (height, width, 3)
    assert difference(after, restored(same_size, before)) <= 2


def test_camera_opens_though_the_sample_comes_while_it_is_asked_for(
    visit: Visit, plain_site: str
) -> None:
    ready = "#status:text-matches('^random on')"
    page = visit(plain_site, LATE_SAMPLE, ready=ready, permissions=["camera"])
    page.evaluate(
        """() => {
            const { mediaDevices } = navigator;
            const ask = mediaDevices.getUserMedia.bind(mediaDevices);
            mediaDevices.getUserMedia = async (wanted) => {
                await new Promise((resolve) => (globalThis.allow = resolve));
                return ask(wanted);
            };
        }"""
    )
    page.click("#camera")
    page.evaluate("sendSample()")
    page.wait_for_selector("#status:text-matches('200 . 112 to')")
    page.evaluate("allow()")
    page.wait_for_selector("#camera[aria-pressed=true]")
    page.wait_for_selector(f"#status:text-matches('{CAMERA[0]} . {CAMERA[1]} to')")


def test_camera_that_is_not_allowed_is_said_and_images_still_work(
    visit: Visit, plain_site: str
) -> None:
    page = visit(plain_site)
    page.evaluate(
        """() => {
            navigator.mediaDevices.getUserMedia = async () => {
                throw new DOMException("Permission denied", "NotAllowedError");
            };
        }"""
    )
    page.click("#camera")
    page.wait_for_selector("#trouble:has-text('The camera was not allowed')")
    assert page.get_attribute("#camera", "aria-pressed") == "false"
    assert page.is_hidden("#figures")
    page.select_option("#student", "other.kdw")
    page.wait_for_selector("#status:text-matches('200 . 112 to .* other on')")


def test_camera_of_another_size_takes_the_place_of_the_first(filmed: Any) -> None:
    first = "document.querySelector('#video').srcObject.getVideoTracks()[0]"
    filmed.evaluate(f"globalThis.first = {first}")
    filmed.select_option("#camera-size", "320x180")
    until(filmed, f"first.readyState === 'ended' && {first}.readyState === 'live'")
    assert filmed.get_attribute("#camera", "aria-pressed") == "true"


def test_browser_without_a_camera_interface_says_so(visit: Visit, plain_site: str) -> None:
    script = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })"
    page = visit(plain_site, script)
    assert page.is_disabled("#camera")


def test_hidden_tab_computes_nothing(watched: Any) -> None:
    count = "referenceEngines.at(-1).frames"
    turn = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    watched.evaluate(turn, True)
    watched.wait_for_timeout(300)
    before = watched.evaluate(count)
    assert watched.evaluate("document.querySelector('#video').paused")
    watched.wait_for_timeout(500)
    assert watched.evaluate(count) == before
    watched.evaluate(turn, False)
    until(watched, f"{count} > {before}")


def test_lost_device_is_replaced_while_the_video_goes_on(watched: Any) -> None:
    engines = watched.evaluate("referenceEngines.length")
    watched.evaluate("referenceEngines.at(-1).lose()")
    watched.wait_for_selector("#status:has-text('was lost and replaced (lost by the test)')")
    assert watched.evaluate("referenceEngines.length") == engines + 1
    until(watched, "referenceEngines.at(-1).frames > 1")


def test_newest_frame_wins_and_each_lost_one_is_counted(visit: Visit, plain_site: str) -> None:
    """A video whose frames 1 to 6 come while the first is worked on, and the browser misses 4."""
    page = visit(plain_site, ready="")
    seen = page.evaluate(
        """async () => {
            const { FrameLoop } = await import("/page/loop.js");
            let current = 0, callback, release;
            const closed = [];
            globalThis.VideoFrame = class {
                constructor() { this.number = current; }
                close() { closed.push(this.number); }
            };
            const video = {
                requestVideoFrameCallback: (f) => { callback = f; return 1; },
                cancelVideoFrameCallback() {},
            };
            const handled = [];
            const handle = (frame) => {
                handled.push(frame.number);
                return new Promise((resolve) => (release = resolve));
            };
            const loop = new FrameLoop(video, handle, () => {});
            loop.start();
            for (current of [1, 2, 3, 5, 6]) callback(0, { presentedFrames: current });
            for (let i = 0; i < 2; i++) {
                release();
                await new Promise((resolve) => setTimeout(resolve));
            }
            loop.stop();
            return { handled, closed: closed.sort(), dropped: loop.dropped };
        }"""
    )
    assert seen == {"handled": [1, 6], "closed": [1, 2, 3, 5, 6], "dropped": 4}
