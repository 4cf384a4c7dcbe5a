/** Play, position and sound of a video file. */

const find = (selector) => document.querySelector(selector);

export class Transport {
  #video = find("#video");
  #bar = find("#transport");
  #play = find("#play");
  #seek = find("#seek");
  #mute = find("#mute");

  constructor() {
    this.#play.addEventListener("click", () => this.toggle());
    this.#mute.addEventListener("click", () => (this.#video.muted = !this.#video.muted));
    this.#seek.addEventListener("input", () => (this.#video.currentTime = this.#seek.value));
    for (const change of ["play", "pause", "timeupdate", "durationchange", "volumechange"]) {
      this.#video.addEventListener(change, () => this.#update());
    }
  }

  show(visible) {
    this.#bar.hidden = !visible;
    if (visible) this.#video.muted = false;
  }

  toggle() {
    if (this.#bar.hidden) return;
    if (this.#video.paused) this.#video.play();
    else this.#video.pause();
  }

  #update() {
    const { paused, currentTime, duration, muted } = this.#video;
    this.#play.textContent = paused ? "Play" : "Pause";
    this.#mute.setAttribute("aria-pressed", muted);
    this.#seek.max = Number.isFinite(duration) ? duration : 1;
    this.#seek.value = currentTime;
    const text = `${clock(currentTime)} of ${clock(duration)}`;
    this.#seek.setAttribute("aria-valuetext", text);
    find("#time").textContent = text;
  }
}

function clock(seconds) {
  const whole = Number.isFinite(seconds) ? Math.floor(seconds) : 0;
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
