/** The view: the canvas "before" under the canvas "after", which the divider cuts. */

const find = (selector) => document.querySelector(selector);

export class Stage {
  before = find("#before");
  after = find("#after");
  #root = find("#stage");
  #split = find("#split");
  #context = this.before.getContext("2d", { alpha: false });

  constructor() {
    this.#split.addEventListener("input", () => this.#cut());
    const move = (event) => this.#follow(event);
    this.#root.addEventListener("pointerdown", (event) => {
      // In the view of actual pixels the rest of the image is for scrolling.
      if (this.#root.classList.contains("actual") && event.target.id !== "divider") return;
      this.#root.setPointerCapture(event.pointerId);
      this.#root.addEventListener("pointermove", move);
      move(event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.#root.addEventListener(end, () => this.#root.removeEventListener("pointermove", move));
    }
    const zoom = find("#zoom");
    zoom.addEventListener("click", () => {
      const actual = this.#root.classList.toggle("actual");
      this.#root.style.setProperty("--pixel-ratio", devicePixelRatio);
      zoom.setAttribute("aria-pressed", actual);
    });
    this.#cut();
  }

  /** The size in pixels of what comes: `width` x `height` before, `scale` times that after. */
  fit(width, height, scale) {
    if (this.before.width !== width || this.before.height !== height) {
      this.before.width = width;
      this.before.height = height;
    }
    this.#root.style.setProperty("--width", width * scale);
    this.#root.style.setProperty("--height", height * scale);
  }

  /** Draws what is seen before; transparent parts lie on white. */
  drawBefore(image) {
    this.#context.fillStyle = "white";
    this.#context.fillRect(0, 0, this.before.width, this.before.height);
    this.#context.drawImage(image, 0, 0, this.before.width, this.before.height);
  }

  /** The enhanced image as a PNG file. @returns {Promise<Blob>} */
  png() {
    return new Promise((resolve, reject) => {
      const taken = (blob) => (blob ? resolve(blob) : reject(new Error("The image is too large.")));
      this.after.toBlob(taken, "image/png");
    });
  }

  #follow({ clientX }) {
    const { left, width } = this.#root.getBoundingClientRect();
    this.#split.value = Math.round((100 * (clientX - left)) / width);
    this.#cut();
  }

  #cut() {
    const share = `${this.#split.value}%`;
    this.#root.style.setProperty("--split", share);
    this.#split.setAttribute("aria-valuetext", `${share} before`);
  }
}
