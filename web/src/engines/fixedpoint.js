/** A student's layers in 16-bit integers, for web/wasm/winograd.c. */

/** Units of an 8-bit level in maps of the image and of the detail, as in web/wasm/blocks.c. */
const UNITS = 64;
/** What maps of the image hold as 0, in units: half of white. */
const MIDDLE = 127.5 * UNITS;
/** Maps reach this far to each side: four of them can be added in 16 bits. */
const REACH = 8191;
/** Results saturate at this multiple of the largest one that the exporter met in its hard frames. */
const HEADROOM = 3;
/** Sum over input channels of the weights of one product: times the 32768 that an input has at
 * most, it stays below 2^31. */
const LARGEST_SUM = 65535;
/** Winograd's form of an integer kernel has whole quarters. */
const QUARTERS = 4;

/**
 * @param {import("../model.js").Model} model
 * @returns {{pairs: number, quads: number, weights: Int16Array, scale: Float32Array,
 *   bias: Float32Array, slope: Float32Array | null, exact: Float64Array | null, low: number,
 *   high: number, outside: number}[]}
 *   the fields of `Layer` in web/wasm/plan.h; `outside` is what the layer's result holds as 0
 */
export function quantize(model) {
  let input = source(model);
  return model.layers.map((layer, index) => {
    const output = index === model.layers.length - 1 ? detail(layer) : hidden(layer);
    const quantized = quantizeLayer(layer, input, output);
    input = output;
    return quantized;
  });
}

/** Of maps: units of one of each channel, and the value that is held as 0. */
function source({ takesLr, factor }) {
  if (takesLr) return { units: new Float64Array(3).fill(255), middle: 0, whole: true };
  return { units: new Float64Array(3 * factor ** 2).fill(255 * UNITS), middle: MIDDLE };
}

/** Also where results saturate, and whether they are levels of 8 bits, held as they are. */
function hidden({ out, activation, peak, level }) {
  if (activation === "relu8") {
    return { units: new Float64Array(out).fill(1 / level), middle: 0, low: 0, high: 255, whole: true };
  }
  const floor = Math.max(...peak) / 20 || 1;
  const positive = activation === "relu";
  const reach = positive ? 2 * REACH + 1 : REACH;
  return {
    units: Float64Array.from({ length: out }, (_, o) => reach / (HEADROOM * Math.max(peak[o], floor))),
    middle: positive ? REACH + 1 : 0,
    low: positive ? -REACH - 1 : -REACH, // which is also what makes negative results 0
    high: REACH,
  };
}

function detail({ out, activation }) {
  const units = new Float64Array(out).fill(255 * UNITS);
  return { units, middle: 0, low: activation === "relu" ? 0 : -32768, high: 32767 };
}

function quantizeLayer(layer, { units, middle, whole }, output) {
  const pairs = Math.ceil(layer.in / 2);
  const quads = Math.ceil(layer.out / 4);
  const padded = 8 * Math.ceil(layer.out / 8);
  const weights = new Int16Array(16 * quads * pairs * 8);
  const [scale, bias] = [new Float64Array(padded), new Float64Array(padded)];
  const exact = whole && layer.step; // integers of 8 bits on both sides: nothing is rounded
  for (let o = 0; o < layer.out; o++) {
    const step = layer.step?.[o] ?? 1;
    const kernels = Array.from({ length: layer.in }, (_, i) => {
      const from = 9 * (o * layer.in + i);
      return transformed(layer.weight.subarray(from, from + 9), exact ? 1 : (step * output.units[o]) / units[i]);
    });
    const factor = exact ? QUARTERS : largestFactor(kernels);
    let constant = 0;
    for (const [i, kernel] of kernels.entries()) {
      for (let position = 0; position < 16; position++) {
        const weight = Math.round(kernel[position] * factor);
        weights[place(position, o, i, quads, pairs)] = weight;
        if (position === 5) constant += weight; // the only one that sees flat areas, four times
      }
    }
    scale[o] = exact ? (step * output.units[o]) / units[0] / factor : 1 / factor;
    bias[o] = layer.bias[o] * output.units[o] + (4 * middle * constant) / factor - output.middle;
  }
  let slope = null;
  if (layer.slope) (slope = new Float32Array(padded)).set(layer.slope);
  return {
    pairs, quads, weights, slope, low: output.low, high: output.high, outside: -output.middle,
    scale: Float32Array.from(scale), bias: Float32Array.from(bias),
    exact: exact && output.whole ? inPairs(scale, bias) : null,
  };
}

/** Two of the first, two of the second, and so on. */
function inPairs(first, second) {
  const mixed = (_, n) => (n & 2 ? second : first)[2 * (n >> 2) + (n & 1)];
  return Float64Array.from({ length: 2 * first.length }, mixed);
}

/** G kernel G' of Winograd's F(2x2, 3x3), times `factor`. */
function transformed(kernel, factor) {
  const spread = (a, b, c) => [a, (a + b + c) / 2, (a - b + c) / 2, c];
  const columns = [0, 1, 2].map((x) => spread(kernel[x], kernel[3 + x], kernel[6 + x]));
  return [0, 1, 2, 3].flatMap((y) =>
    spread(columns[0][y], columns[1][y], columns[2][y]).map((value) => value * factor),
  );
}

/** The largest factor with which no weight and no sum of products overflows. */
function largestFactor(kernels) {
  let factor = Infinity;
  for (let position = 0; position < 16; position++) {
    let [sum, largest] = [0, 0];
    for (const kernel of kernels) {
      sum += Math.abs(kernel[position]);
      largest = Math.max(largest, Math.abs(kernel[position]));
    }
    factor = Math.min(factor, (LARGEST_SUM - kernels.length / 2) / sum, 32767 / largest);
  }
  return factor < Infinity ? factor : 1;
}

/** Where the kernel has a weight; see `Layer` in web/wasm/plan.h. */
function place(position, o, i, quads, pairs) {
  const quad = o >> 2;
  const group = quad >> 2;
  const inGroup = Math.min(4, quads - 4 * group);
  const vector = position * quads * pairs + 4 * group * pairs + (i >> 1) * inGroup + (quad & 3);
  return 8 * vector + 2 * (o & 3) + (i & 1);
}
