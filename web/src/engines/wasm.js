/**
 * The student in WebAssembly, in bands of rows, each by a worker with an instance and memory of its
 * own: buffers travel to it and back, so the page needs no shared memory and no isolation.
 * See web/README.md for the interface and web/wasm for the kernel.
 */

import { quantize } from "./fixedpoint.js";
import { canvasOf, requireSize } from "./source.js";

const MOST_WORKERS = 8;
/** Rows of blocks of a band, at least, by layer: next to its border, where it ends inside the
 * frame, a band computes about one row a layer twice. */
const ROWS_PER_LAYER = 4;

let compiled = null;

export async function create(model, { width, height, canvas }) {
  if (typeof Worker === "undefined") throw new Error("this browser has no workers");
  compiled ??= compile();
  try {
    const engine = new WasmEngine(model, width, height, canvas);
    await engine.start(await compiled);
    return engine;
  } catch (error) {
    compiled = null;
    throw error;
  }
}

async function compile() {
  const response = await fetch(new URL("./student.wasm", import.meta.url));
  if (!response.ok) throw new Error(`student.wasm: the server answers ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer()).catch(() => {
    throw new Error("this browser has no WebAssembly SIMD");
  });
}

class WasmEngine {
  name = "wasm";
  timings = { import: 0, run: 0, total: 0 };
  #bands = [];
  #lose;

  constructor(model, width, height, canvas) {
    const { scale, factor, takesLr } = model;
    this.size = { scale, factor, takesLr, width, height };
    this.layers = quantize(model);
    Object.assign(this, { width, height });
    this.canvas = canvasOf(canvas, width * scale, height * scale);
    this.lost = new Promise((resolve) => (this.#lose = resolve));
    this.context = this.canvas.getContext("2d", { alpha: false });
    if (!this.context) throw new Error("the canvas has a context of another kind than 2d");
    const wanted = { alpha: false, willReadFrequently: true };
    this.importer = new OffscreenCanvas(width, height).getContext("2d", wanted);
  }

  async start(module) {
    const { scale, factor, height } = this.size;
    const rows = Math.ceil((height * scale) / factor);
    const useful = Math.floor(rows / (ROWS_PER_LAYER * this.layers.length + 1));
    const count = Math.max(1, Math.min(navigator.hardwareConcurrency || 1, MOST_WORKERS, useful));
    const bounds = Array.from({ length: count + 1 }, (_, n) => Math.round((n * rows) / count));
    this.description = `WebAssembly SIMD, ${count} ${count === 1 ? "worker" : "workers"}`;
    this.#bands = bounds.slice(1).map((end, n) => new Band(bounds[n], end, this.#lose));
    try {
      await Promise.all(this.#bands.map((band) => band.start(module, this.layers, this.size)));
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  async process(source) {
    requireSize(source, this.width, this.height);
    const start = performance.now();
    const { data } = this.#pixels(source);
    const work = this.#bands.map((band) => band.run(data));
    const imported = performance.now();
    await Promise.all(work);
    for (const band of this.#bands) band.draw(this.context);
    const end = performance.now();
    this.timings = { import: imported - start, run: end - imported, total: end - start };
  }

  async read() {
    const image = new ImageData(this.canvas.width, this.canvas.height);
    for (const band of this.#bands) image.data.set(new Uint8Array(band.output), 4 * image.width * band.top);
    return image;
  }

  dispose() {
    for (const band of this.#bands) band.end();
  }

  #pixels(source) {
    if (source instanceof ImageData) return source;
    this.importer.drawImage(source, 0, 0, this.width, this.height);
    return this.importer.getImageData(0, 0, this.width, this.height);
  }
}

/** Some rows of the frame, and the worker that computes them. */
class Band {
  #worker;
  #answer = null;

  constructor(first, end, lose) {
    Object.assign(this, { first, last: end });
    this.#worker = new Worker(new URL("./wasm-worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#answer?.resolve(data);
    this.#worker.onerror = (event) => {
      const reason = event.message || "it could not be loaded";
      this.#answer?.reject(new Error(`a worker failed: ${reason}`));
      lose(`a worker failed: ${reason}`);
    };
  }

  async start(module, layers, size) {
    const { first, last } = this;
    const { rows, outputBytes } = await this.#ask({ module, layers, size, first, last });
    const { scale, factor, width } = size;
    this.width = width * scale;
    this.top = first * factor;
    [this.from, this.to] = rows.map((row) => 4 * row * width);
    this.input = new ArrayBuffer(this.to - this.from);
    this.output = new ArrayBuffer(outputBytes);
  }

  async run(pixels) {
    new Uint8Array(this.input).set(pixels.subarray(this.from, this.to));
    const { input, output } = this;
    Object.assign(this, await this.#ask({ input, output }, [input, output]));
  }

  draw(context) {
    context.putImageData(new ImageData(new Uint8ClampedArray(this.output), this.width), 0, this.top);
  }

  end() {
    this.#worker.terminate();
    this.#answer?.reject(new Error("the engine was disposed of"));
  }

  #ask(message, transfer = []) {
    return new Promise((resolve, reject) => {
      this.#answer = { resolve, reject };
      this.#worker.postMessage(message, transfer);
    });
  }
}
