/**
 * How both GPU engines lay a network out. Channels come in groups of four, the last one filled up
 * with zeros; a convolution is a sum of products of 4x4 matrices, as shaders have them.
 */

/** Groups of four that hold so many channels. */
export const groupsOf = (channels) => Math.ceil(channels / 4);

/** The parts of `exact`, see `inUnits`, in the order of `pack`; signed is `high` alone. */
export const EXACT = ["factor", "high", "low", "shift"];

/** What a layer has besides weights, by output. */
const additions = ({ exact, bias, step, slope }) =>
  exact ? EXACT.map((part) => exact[part]) : [bias, step, slope].filter(Boolean);

/** Bytes of a layer with `outputs` groups of outputs in `pack`. */
export const packedBytes = (layer, outputs) =>
  16 * outputs * (4 * 9 * groupsOf(layer.in) + additions(layer).length);

/**
 * The layers as shaders compute them. What a map holds is a number of units: levels of 8 bits where
 * it is the LR image or follows relu8, else ones. Weights with a step are whole numbers then, so
 * that sums of products are exact; `step`, in units, is what they are multiplied by afterwards.
 * Where that gives levels again, `exact` says how to do it in integers: a rounding that float32
 * turned would be carried on by all layers.
 *
 * @param {import("../model.js").Model} model
 * @returns {import("../model.js").Layer[]}
 */
export function inUnits(model) {
  let unit = model.takesLr ? 1 / 255 : 1;
  let levels = model.takesLr;
  return model.layers.map((layer) => {
    const result = layer.level ?? 1;
    const ratio = unit / result;
    const steps = layer.step && Array.from(layer.step, (step) => step * ratio);
    const biases = Array.from(layer.bias, (bias) => bias / result);
    const whole = levels && layer.step && layer.level;
    [unit, levels] = [result, Boolean(layer.level)];
    return {
      ...layer,
      weight: layer.step ? layer.weight : layer.weight.map((weight) => weight * ratio),
      step: steps && Float32Array.from(steps),
      bias: Float32Array.from(biases),
      exact: whole ? inIntegers(steps, biases) : null,
    };
  });
}

/**
 * n * step + bias, rounded, of a whole number n: `shift` and 32 bits off n * factor + bias, where the
 * bias has 64 bits (`high`, `low`) and the half that rounds.
 *
 * @param {number[]} steps @param {number[]} biases @returns null where a step is not below 1: a
 *   student that makes no sense
 */
function inIntegers(steps, biases) {
  if (!steps.every((step) => step < 1)) return null;
  const room = (o) => Math.floor(30 - Math.log2(Math.abs(biases[o]) + 1)); // of the bias, in `high`
  const shift = Uint32Array.from(steps, (step, o) => Math.min(room(o), Math.ceil(-Math.log2(step)) - 1));
  const unit = (o) => 2 ** (32 + shift[o]);
  const whole = biases.map((bias, o) => Math.round((bias + 0.5) * unit(o)));
  return {
    factor: Uint32Array.from(steps, (step, o) => Math.min(2 ** 32 - 1, Math.round(step * unit(o)))),
    high: Int32Array.from(whole, (value) => Math.floor(value / 2 ** 32)),
    low: Uint32Array.from(whole, (value) => value - Math.floor(value / 2 ** 32) * 2 ** 32),
    shift,
  };
}

/**
 * The parameters of groups `from` to `to` (without) of a layer's outputs: matrices in the order
 * [column of the kernel][group of inputs][row of the kernel][group of outputs], each by columns (an
 * input channel each); then biases, and steps and slopes if it has any; or the parts of `exact`.
 *
 * @param {import("../model.js").Layer} layer of `inUnits`
 * @returns {Float32Array}
 */
export function pack(layer, from, to) {
  const inputs = groupsOf(layer.in);
  const outputs = to - from;
  const packed = new Float32Array(packedBytes(layer, outputs) / 4);
  const bits = new Uint32Array(packed.buffer);
  const last = Math.min(4 * to, layer.out);
  for (let o = 4 * from; o < last; o++) {
    const group = (o >> 2) - from;
    for (let i = 0; i < layer.in; i++) {
      for (let tap = 0; tap < 9; tap++) {
        const row = Math.floor(tap / 3);
        const matrix = (((tap % 3) * inputs + (i >> 2)) * 3 + row) * outputs + group;
        packed[16 * matrix + 4 * (i & 3) + (o & 3)] = layer.weight[(o * layer.in + i) * 9 + tap];
      }
    }
    let place = 16 * 9 * inputs * outputs + o - 4 * from;
    for (const values of additions(layer)) {
      (layer.exact ? bits : packed)[place] = values[o];
      place += 4 * outputs;
    }
  }
  return packed;
}

/** Sizes of one network at one size of frame, in pixels, blocks and groups; `sourceGroups` of what
 * the first layer reads, `imageGroups` of the interpolated image, `hiddenGroups` of any layer. */
export function geometry(model, width, height) {
  const r = model.factor;
  const outWidth = width * model.scale;
  const outHeight = height * model.scale;
  const imageGroups = groupsOf(3 * r * r);
  return {
    outWidth,
    outHeight,
    blocksWide: Math.ceil(outWidth / r),
    blocksHigh: Math.ceil(outHeight / r),
    sourceGroups: model.takesLr ? 1 : imageGroups,
    imageGroups,
    hiddenGroups: Math.max(imageGroups, ...model.layers.map((layer) => groupsOf(layer.out))),
  };
}

/** Rows of blocks that one invocation of the WebGPU engine computes of a layer: what it reads serves
 * several of them, as long as their sums fit into registers. */
export const rowsOf = (layer) => Math.max(1, Math.min(4, Math.floor(8 / groupsOf(layer.out))));

/** How the WebGPU engine stores maps: elements from one row of blocks to the next, and from one group
 * to the next; with a border of zeros, and room for invocations that go beyond the last row. */
export function planes(model, { blocksWide, blocksHigh }) {
  const rows = Math.max(1, ...model.layers.map(rowsOf));
  const stride = blocksWide + 2;
  return { stride, plane: stride * (Math.ceil(blocksHigh / rows) * rows + 2) };
}

/** `groups` in the fewest shares of at most `most`, evenly: [from, to (without)] of each. */
export function shares(groups, most) {
  const count = Math.ceil(groups / most);
  const bounds = Array.from({ length: count + 1 }, (_, n) => Math.round((n * groups) / count));
  return bounds.slice(1).map((to, n) => [bounds[n], to]);
}

/** Which groups of a layer's outputs each pass of the WebGL2 engine computes: as many as can be drawn
 * at once, and as have their parameters in one uniform block. [] where not even one has. */
export function passesOf(layer, drawBuffers, blockBytes) {
  const most = Math.min(drawBuffers, Math.floor(blockBytes / packedBytes(layer, 1)));
  return most ? shares(groupsOf(layer.out), most) : [];
}

/** `count` lines or items, made of 0 to count - 1. */
export const each = (count, text, between = "\n") =>
  Array.from({ length: count }, (_, index) => text(index)).join(between);
