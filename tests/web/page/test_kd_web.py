"""The module for other applications."""

from collections.abc import Callable
from typing import Any

import pytest

Visit = Callable[..., Any]

# A canvas that is filmed, so that the colour of what arrives is known.
THROUGH = """async () => {
    const { Enhancer } = await import("/kd-web.js");
    const enhancer = await Enhancer.load("/models/random.kdw");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [32, 24];
    const context = canvas.getContext("2d");
    const timer = setInterval(() => {
        context.fillStyle = `rgb(${200 + Math.random()} 60 60)`;
        context.fillRect(0, 0, 32, 24);
    }, 50);
    const [track] = canvas.captureStream().getVideoTracks();
    const output = enhancer.processTrack(track);
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = new MediaStream([output]);
    video.play();
    await new Promise((resolve) => {
        const next = () => video.requestVideoFrameCallback(seen);
        const seen = () => (video.videoWidth > 2 ? resolve() : next());
        next();
    });
    const size = [video.videoWidth, video.videoHeight];
    track.stop();
    clearInterval(timer);
    if (!globalThis.MediaStreamTrackProcessor) track.dispatchEvent(new Event("ended"));
    while (output.readyState === "live") await new Promise((resolve) => setTimeout(resolve, 50));
    return { size, kind: output.constructor.name };
}"""


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("", "MediaStreamTrackGenerator"),
        ("delete globalThis.MediaStreamTrackProcessor", "CanvasCaptureMediaStreamTrack"),
    ],
    ids=["frames", "canvas"],
)
def test_track_is_enlarged_and_ends_with_its_source(
    visit: Visit, plain_site: str, script: str, kind: str
) -> None:
    page = visit(plain_site, script, ready="h1")
    assert page.evaluate(THROUGH) == {"size": [64, 48], "kind": kind}


def test_example_enhances_the_camera(visit: Visit, plain_site: str) -> None:
    page = visit(f"{plain_site}/example.html", ready="#start", permissions=["camera"])
    page.click("#start")
    page.wait_for_selector("#status:has-text(' on wasm')")


def test_calls_at_the_same_time_wait_for_each_other(visit: Visit, plain_site: str) -> None:
    page = visit(plain_site, ready="h1")
    sizes = page.evaluate(
        """async () => {
            const { Enhancer } = await import("/kd-web.js");
            const enhancer = await Enhancer.load("/models/random.kdw", { engine: "wasm" });
            const work = [[9, 7], [12, 5], [9, 7]].map(async ([width, height]) => {
                const frame = new OffscreenCanvas(width, height);
                frame.getContext("2d").fillRect(0, 0, width, height);
                const canvas = new OffscreenCanvas(1, 1);
                await enhancer.process(frame, canvas);
                return [canvas.width, canvas.height];
            });
            return Promise.all(work);
        }"""
    )
    assert sizes == [[18, 14], [24, 10], [18, 14]]


def test_frame_or_canvas_that_cannot_be_used_is_refused_and_the_canvas_kept(
    visit: Visit, plain_site: str
) -> None:
    page = visit(plain_site, ready="h1")
    messages = page.evaluate(
        """async () => {
            const { Enhancer } = await import("/kd-web.js");
            const enhancer = await Enhancer.load("/models/random.kdw", { engine: "wasm" });
            const taken = new OffscreenCanvas(4, 4);
            taken.getContext("bitmaprenderer");
            const frame = new OffscreenCanvas(4, 4);
            frame.getContext("2d");
            const attempts = [[document.createElement("video"), new OffscreenCanvas(1, 1)]];
            attempts.push([frame, taken], [frame, frame]);
            const small = new OffscreenCanvas(1, 1);
            for (const [width, height] of [[33000, 2], [2, 8193], [8192, 8193]]) {
                attempts.push([new OffscreenCanvas(width, height), small]);
            }
            const failed = (error) => error.message;
            const messages = await Promise.all(
                attempts.map((pair) => enhancer.process(...pair).catch(failed)));
            return [...messages, frame.width, small.width];
        }"""
    )
    assert messages == [
        "The image or frame is empty.",
        "The canvas has a context of another kind than 2d.",
        "The source cannot be its own canvas: give another.",
        "33000 \u00d7 2 is too large for a browser: use kd-enhance.",
        "2 \u00d7 8193 is too large for a browser: use kd-enhance.",
        "8192 \u00d7 8193 is too large for a browser: use kd-enhance.",
        4,
        1,
    ]


def test_engine_of_an_unknown_name_is_refused_and_nothing_fetched(
    visit: Visit, plain_site: str
) -> None:
    page = visit(plain_site, ready="h1")
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    message = page.evaluate(
        """async () => {
            const { Enhancer } = await import("/kd-web.js");
            const load = Enhancer.load("/models/random.kdw", { engine: "webgl" });
            return load.catch((error) => error.message);
        }"""
    )
    assert message == 'engine "webgl": take auto, webgpu, webgl2, wasm.'
    assert not [url for url in fetched if "webgl.js" in url]
