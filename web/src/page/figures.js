/** Frames a second and milliseconds by stage, means of the last second; none before there is one. */

const WINDOW_MS = 1000;
const STAGES = ["total", "import", "run", "draw"];

export class Figures {
  #frames = []; // {at, timings} of the window
  #since = 0; // when the first frame came
  #written = 0;
  #root = document.querySelector("#figures");

  show(visible) {
    this.#root.hidden = !visible;
    this.#frames = [];
    for (const name of ["fps", ...STAGES, "dropped"]) find(name).textContent = "";
  }

  add(timings, dropped) {
    const at = performance.now();
    if (!this.#frames.length) this.#since = at;
    this.#frames.push({ at, timings });
    while (this.#frames.length > 2 && at - this.#frames[0].at > WINDOW_MS) this.#frames.shift();
    // The first frames come in a burst: the engine was made while they waited.
    if (at - this.#since < WINDOW_MS || at - this.#written < WINDOW_MS / 4) return;
    this.#written = at;
    const first = this.#frames[0].at;
    this.#write("fps", ((this.#frames.length - 1) * 1000) / (at - first));
    for (const stage of STAGES) {
      const sum = this.#frames.reduce((total, { timings }) => total + (timings[stage] ?? 0), 0);
      this.#write(stage, sum / this.#frames.length);
    }
    this.#write("dropped", dropped, 0);
  }

  #write(name, value, digits = 1) {
    find(name).textContent = value.toFixed(digits);
  }
}

const find = (name) => document.querySelector(`#figure-${name}`);
