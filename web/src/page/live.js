/** A video file or a camera through the student, as far as it keeps up. */

import { sizeOf } from "../kd-web.js";
import { FrameLoop } from "./loop.js";

export class Live {
  #video = document.querySelector("#video");
  #loop;
  #stream = null;
  #url = "";
  #resume = false;

  /** @param app {enhancer, stage, figures, say(error)}; `enhancer` may change at any time */
  constructor(app) {
    this.app = app;
    this.#loop = new FrameLoop(this.#video, (frame) => this.#show(frame), (error) => app.trouble(error));
  }

  /** @param {File} file */
  async openFile(file) {
    this.#url = URL.createObjectURL(file);
    this.#video.src = this.#url;
    this.#video.loop = true;
    await new Promise((resolve, reject) => {
      this.#video.onloadeddata = resolve;
      this.#video.onerror = () => reject(new Error(`${file.name}: this browser cannot play it.`));
    });
    if (!this.#video.videoWidth) throw new Error(`${file.name}: there is no picture in it.`);
    this.#loop.start();
    // Without a click the browser may refuse sound; the button starts it then.
    await this.#video.play().catch(() => {});
  }

  /** @param {MediaStream} stream of a camera; its tracks are stopped at the end */
  async openCamera(stream) {
    this.#stream = stream;
    this.#stream.getVideoTracks()[0].onended = () => this.app.ended("The camera was taken away.");
    this.#video.srcObject = this.#stream;
    this.#video.muted = true;
    this.#loop.start();
    await this.#video.play();
  }

  close() {
    this.#loop.stop();
    this.#video.pause();
    this.#video.onloadeddata = this.#video.onerror = null;
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#video.srcObject = null;
    this.#video.removeAttribute("src");
    this.#video.load();
    if (this.#url) URL.revokeObjectURL(this.#url);
  }

  /** A hidden tab computes nothing, and its video waits. */
  visibility(visible) {
    if (visible) {
      this.#loop.start();
      if (this.#resume) this.#video.play();
      return;
    }
    this.#loop.stop();
    this.#resume = !this.#stream && !this.#video.paused;
    if (this.#resume) this.#video.pause();
  }

  /** With another student the frame in view is shown again: a video that plays may be paused before
   * its next one. */
  refresh() {
    const { HAVE_CURRENT_DATA } = HTMLMediaElement;
    if (this.#video.readyState >= HAVE_CURRENT_DATA) this.#loop.take();
  }

  async #show(frame) {
    const { enhancer, stage, figures } = this.app;
    if (!enhancer) return; // the engines are still being tried
    const { width, height } = sizeOf(frame);
    stage.fit(width, height, enhancer.scale);
    await enhancer.process(frame, stage.after);
    const start = performance.now();
    stage.drawBefore(frame);
    const { draw = 0, total = 0, ...stages } = enhancer.timings;
    const before = performance.now() - start;
    figures.add({ ...stages, draw: draw + before, total: total + before }, this.#loop.dropped);
  }
}

/** A camera of about this size. @returns {Promise<MediaStream>} */
export async function askForCamera(width, height) {
  const video = { width: { ideal: width }, height: { ideal: height } };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

const REFUSALS = {
  NotAllowedError:
    "The camera was not allowed. Allow it in the browser's address bar, or open an image or video.",
  NotFoundError: "There is no camera. Open an image or video instead.",
  NotReadableError: "Another program uses the camera. Close it and try again.",
};
