/** Frames a second and milliseconds by stage, means of the last second. */

const WINDOW_MS = 1000;
const STAGES = ["total", "import", "run", "draw"];

export class Figures {
  #frames = []; // {at, timings} of the window
  #written = 0;
  #root = document.querySelector("#figures");

  show(visible) {
    this.#root.hidden = !visible;
    this.#frames = [];
    this.#written = 0;
  }

  add(timings, dropped) {
    const at = performance.now();
    this.#frames.push({ at, timings });
    while (at - this.#frames[0].at > WINDOW_MS) this.#frames.shift();
    if (at - this.#written < WINDOW_MS / 4 || this.#frames.length < 2) return;
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
    document.querySelector(`#figure-${name}`).textContent = value.toFixed(digits);
  }
}
