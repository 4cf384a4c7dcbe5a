/** One instance of the kernel in web/wasm: a band of a frame at a time, in the calling thread. */

import { phases } from "../interpolation.js";

const TILES = 8; // as in web/wasm/plan.h
const PAGE = 65536;

export class Kernel {
  /**
   * @param {WebAssembly.Module} module student.wasm
   * @param {ReturnType<import("./fixedpoint.js").quantize>} layers
   * @param {{scale: number, factor: number, takesLr: boolean, width: number, height: number}} size
   *   of the input frame, and what the model states
   * @param {number} rows of blocks, the most that `run` is asked for at once
   */
  constructor(module, layers, { scale, factor, takesLr, width, height }, rows) {
    this.exports = new WebAssembly.Instance(module).exports;
    this.end = this.exports.__heap_base.value;
    this.writes = [];
    Object.assign(this, { width, height, outWidth: width * scale, outHeight: height * scale });
    this.blocksWide = Math.ceil(this.outWidth / factor);
    this.blocksHigh = Math.ceil(this.outHeight / factor);
    Object.assign(this, { scale, factor, takesLr });
    this.depth = layers.length;
    this.framePlace = this.#reserve(4 * width * height);
    this.outputPlace = this.#reserve(4 * this.outWidth * factor * rows);
    this.plan = this.#plan(layers);
    this.#write();
  }

  /** The input frame, RGBA, (height, width, 4). */
  get frame() {
    return new Uint8Array(this.exports.memory.buffer, this.framePlace, 4 * this.width * this.height);
  }

  /**
   * Compute rows `first` to `end` (without) of blocks.
   * @returns {Uint8Array} RGBA of these output rows, valid until the next call
   */
  run(first, end) {
    this.exports.run(this.plan, first, end);
    const rows = Math.min(this.factor * end, this.outHeight) - this.factor * first;
    return new Uint8Array(this.exports.memory.buffer, this.outputPlace, 4 * this.outWidth * rows);
  }

  /** The rows of the frame that `run(first, end)` reads, as [from, to). */
  rowsRead(first, end) {
    const from = Math.floor((this.factor * (first - this.depth - 2)) / this.scale) - 2;
    const to = Math.ceil((this.factor * (end + this.depth + 2)) / this.scale) + 3;
    return [Math.max(0, from), Math.min(this.height, to)];
  }

  #plan(layers) {
    const wide = 8 * Math.ceil((3 * this.factor ** 2) / 8);
    const kept = this.takesLr ? 2 : layers.length + 2 + (layers.length % 2);
    const image = this.#maps(wide, kept, -8160);
    const source = this.takesLr ? this.#maps(8, 4, 0) : image;
    let [from, detail] = [source, this.#maps(wide, 2, 0)];
    const words = layers.flatMap((layer, index) => {
      const last = index === layers.length - 1;
      const channels = 8 * Math.ceil(layer.quads / 2);
      const to = last ? detail : this.#maps(channels, 4, layer.outside);
      const parts = [layer.weights, layer.scale, layer.bias, layer.slope, layer.exact].map((part) => this.#store(part));
      const record = [...from, ...to, layer.pairs, layer.quads, ...parts, float(layer.low), float(layer.high)];
      from = to;
      return record;
    });
    const widest = Math.max(wide, ...layers.map((layer) => 8 * Math.ceil(layer.quads / 2)));
    return this.#store(Int32Array.from([
      this.width, this.height, this.blocksWide, this.blocksHigh, this.factor, Number(this.takesLr),
      this.outWidth, this.outHeight,
      this.framePlace, this.outputPlace,
      this.#taps(this.factor * this.blocksWide, this.width), this.#taps(this.factor * this.blocksHigh, this.height),
      this.#reserve(this.factor * 16 * (this.width + 8)),
      this.#reserve(2 * 16 * TILES * widest), this.#reserve(4 * 16 * TILES * widest),
      ...source, ...image, ...detail, layers.length, this.#store(Int32Array.from(words)),
    ]));
  }

  /** The words of `Maps` in web/wasm/plan.h. */
  #maps(channels, rows, outside) {
    rows = Math.max(4, rows);
    const pixels = 2 * Math.ceil(this.blocksWide / 2) + 2;
    return [this.#reserve(2 * channels * pixels * rows), channels, rows, outside];
  }

  /** `Taps` of `count` output pixels from `size` input ones; those beyond the last repeat it. */
  #taps(count, size) {
    const known = phases(this.scale);
    const buffer = new ArrayBuffer(20 * count);
    for (let at = 0; at < count; at++) {
      const pixel = Math.min(at, size * this.scale - 1);
      const { first, taps } = known[pixel % this.scale];
      const start = Math.floor(pixel / this.scale) + first;
      const inside = taps.map((tap, k) => (start + k >= 0 && start + k < size ? tap : 0));
      const sum = inside.reduce((total, tap) => total + tap);
      new Int32Array(buffer, 20 * at, 1)[0] = start;
      new Float32Array(buffer, 20 * at + 4, 4).set(inside.map((tap) => tap / sum));
    }
    return this.#store(new Int32Array(buffer));
  }

  #reserve(bytes) {
    const place = (this.end + 63) & -64;
    this.end = place + bytes;
    return place;
  }

  /** @returns {number} where the values will be; 0 for null */
  #store(values) {
    if (!values) return 0;
    const place = this.#reserve(values.byteLength);
    this.writes.push([place, values]);
    return place;
  }

  #write() {
    const { memory } = this.exports;
    const missing = Math.ceil((this.end - memory.buffer.byteLength) / PAGE);
    if (missing > 0) memory.grow(missing);
    for (const [place, values] of this.writes) {
      new Uint8Array(memory.buffer).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), place);
    }
    this.writes = [];
  }
}

/** The bits of a float32 as an integer. */
function float(value) {
  return new Int32Array(Float32Array.of(value).buffer)[0];
}
