/**
 * The formulas of web/README.md in plain JavaScript floats: the page's tests run it as an engine
 * where none of the real ones matters. Slow: for small frames.
 */
import { phases } from "../interpolation.js";

export async function create(model, { width, height, canvas = new OffscreenCanvas(1, 1) }) {
  if (globalThis.refuseReference) throw new Error("refused by the test");
  canvas.width = width * model.scale;
  canvas.height = height * model.scale;
  const context = canvas.getContext("2d");
  const input = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  let lose;
  const engine = {
    name: "reference",
    description: "plain JavaScript",
    canvas,
    width,
    height,
    timings: {},
    frames: 0,
    lost: new Promise((resolve) => (lose = resolve)),
    async process(source) {
      const start = performance.now();
      if (source instanceof ImageData) input.putImageData(source, 0, 0);
      else input.drawImage(source, 0, 0, width, height);
      const frame = input.getImageData(0, 0, width, height);
      const imported = performance.now();
      context.putImageData(restore(model, frame), 0, 0);
      const end = performance.now();
      engine.frames++;
      engine.timings = { import: imported - start, run: end - imported, total: end - start };
    },
    read: async () => context.getImageData(0, 0, canvas.width, canvas.height),
    dispose() {},
    lose: () => lose("lost by the test"),
  };
  (globalThis.referenceEngines ??= []).push(engine);
  return engine;
}

function restore(model, frame) {
  const { scale, factor: r, layers } = model;
  const [width, height] = [frame.width * scale, frame.height * scale];
  const image = interpolate(frame, scale);
  const [columns, rows] = [Math.ceil(width / r), Math.ceil(height / r)];
  let maps = [];
  for (let c = 0; c < 3; c++) {
    for (let k = 0; k < r * r; k++) {
      const map = new Float32Array(columns * rows);
      for (let i = 0; i < rows; i++) {
        const y = Math.min(i * r + Math.floor(k / r), height - 1);
        for (let j = 0; j < columns; j++) {
          map[i * columns + j] = image[c][y * width + Math.min(j * r + (k % r), width - 1)];
        }
      }
      maps.push(map);
    }
  }
  for (const layer of layers) maps = convolve(layer, maps, columns, rows);
  const output = new ImageData(width, height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const block = Math.floor(y / r) * columns + Math.floor(x / r);
      for (let c = 0; c < 3; c++) {
        const detail = layers.length ? maps[c * r * r + (y % r) * r + (x % r)][block] : 0;
        output.data[at + c] = 255 * (image[c][y * width + x] + detail); // clamps and rounds
      }
      output.data[at + 3] = 255;
    }
  }
  return output;
}

function interpolate(frame, scale) {
  const table = phases(scale);
  const taps = (position, length) => {
    const { first, taps } = table[position % scale];
    const start = Math.floor(position / scale) + first;
    const inside = taps.map((tap, k) => [start + k, tap]).filter(([at]) => at >= 0 && at < length);
    const sum = inside.reduce((total, [, tap]) => total + tap, 0);
    return inside.map(([at, tap]) => [at, tap / sum]);
  };
  const columns = Array.from({ length: frame.width * scale }, (_, x) => taps(x, frame.width));
  const rows = Array.from({ length: frame.height * scale }, (_, y) => taps(y, frame.height));
  const width = columns.length;
  return [0, 1, 2].map((c) => {
    const wide = new Float32Array(width * frame.height);
    columns.forEach((column, x) => {
      for (const [j, tap] of column) {
        for (let y = 0; y < frame.height; y++) {
          wide[y * width + x] += tap * frame.data[4 * (y * frame.width + j) + c];
        }
      }
    });
    const image = new Float32Array(width * rows.length);
    rows.forEach((row, y) => {
      for (const [i, tap] of row) {
        for (let x = 0; x < width; x++) image[y * width + x] += (tap / 255) * wide[i * width + x];
      }
    });
    return image.map((value) => Math.min(1, Math.max(0, value)));
  });
}

function convolve({ out, weight, bias, activation, slope }, maps, columns, rows) {
  return Array.from({ length: out }, (_, o) => {
    const sum = new Float32Array(columns * rows).fill(bias[o]);
    maps.forEach((map, i) => {
      for (let k = 0; k < 9; k++) {
        const w = weight[(o * maps.length + i) * 9 + k];
        const [dy, dx] = [Math.floor(k / 3) - 1, (k % 3) - 1];
        for (let y = Math.max(0, -dy); y < Math.min(rows, rows - dy); y++) {
          const [to, from] = [y * columns, (y + dy) * columns + dx];
          for (let x = Math.max(0, -dx); x < Math.min(columns, columns - dx); x++) {
            sum[to + x] += w * map[from + x];
          }
        }
      }
    });
    if (activation === "none") return sum;
    return sum.map((value) => (value >= 0 ? value : slope ? slope[o] * value : 0));
  });
}
