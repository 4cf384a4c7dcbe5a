/**
 * Reads the file that `kd-export NAME -o web/` writes; its format is in web/README.md.
 *
 * @typedef {{in: number, out: number, activation: "none" | "relu" | "prelu" | "relu8",
 *   weight: Float32Array, step: Float32Array | null, bias: Float32Array, slope: Float32Array | null,
 *   level: number | null, peak: Float32Array}} Layer
 *   `weight` is (out, in, 3, 3), in units of `step` where there is one; `step`, `slope` and `peak`
 *   are (out); `level`, of relu8, is how far apart two of its 256 levels are, as float32 has it.
 * @typedef {{width: number, height: number, data: Uint8Array}} Pixels  (height, width, 3)
 * @typedef {{name: string, scale: number, takesLr: boolean, factor: number, radius: number,
 *   degradation: string | null, parameters: number, layers: Layer[],
 *   golden: {lr: Pixels, sr: Pixels}}} Model
 *   `factor` pixels of the output are the side of a block, which is one element of a map.
 */

const FORMAT = 2;

/** @param {string | URL} url @returns {Promise<Model>} */
export async function loadModel(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answers ${response.status}`);
  return parseModel(await response.arrayBuffer(), String(url));
}

/**
 * @param {ArrayBuffer} buffer the whole file
 * @param {string} source is named in errors
 * @returns {Model}
 */
export function parseModel(buffer, source = "model") {
  const { stated, tensor } = readTensors(buffer, source);
  if (stated.format !== FORMAT) {
    throw new Error(`${source}: written by another version; export it again`);
  }
  const layers = stated.layers.map((layer, index) => {
    const part = (name) => tensor(`layers.${index}.${name}`);
    const { dtype, data: weight } = part("weight");
    const slope = layer.activation === "prelu" ? part("slope").data : null;
    return {
      in: layer.in,
      out: layer.out,
      activation: layer.activation,
      weight: Float32Array.from(weight),
      step: dtype === "I8" ? part("step").data : null,
      bias: part("bias").data,
      slope: slope && slope.length === 1 ? new Float32Array(layer.out).fill(slope[0]) : slope,
      level: layer.activation === "relu8" ? Math.fround(part("top").data[0] / 255) : null,
      peak: part("peak").data,
    };
  });
  const pixels = (name) => {
    const { shape, data } = tensor(name);
    return { height: shape[0], width: shape[1], data };
  };
  return {
    name: stated.name,
    scale: stated.scale,
    takesLr: stated.takes_lr,
    factor: stated.factor,
    radius: stated.radius,
    degradation: stated.degradation,
    parameters: stated.parameters,
    layers,
    golden: { lr: pixels("golden.lr"), sr: pixels("golden.sr") },
  };
}

/** The interpolation alone: what the student starts from. @param {Model} model @returns {Model} */
export function interpolationOf(model) {
  return { ...model, name: "bicubic", takesLr: false, layers: [], parameters: 0 };
}

function readTensors(buffer, source) {
  const broken = new Error(`${source}: not a file of kd-export`);
  if (buffer.byteLength < 8) throw broken;
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  if (length > buffer.byteLength - 8) throw broken;
  let header, stated;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    stated = JSON.parse(header.__metadata__.kd_web);
  } catch {
    throw broken;
  }
  const tensor = (name) => {
    if (!header[name]) throw broken;
    const { dtype, shape, data_offsets: [start, end] } = header[name];
    const bytes = new Uint8Array(buffer.slice(8 + length + start, 8 + length + end));
    if (bytes.length !== end - start) throw broken;
    return { dtype, shape, data: READERS[dtype](bytes) };
  };
  return { stated, tensor };
}

const READERS = {
  U8: (bytes) => bytes,
  I8: (bytes) => new Int8Array(bytes.buffer),
  F32: (bytes) => new Float32Array(bytes.buffer),
  BF16: widened,
};

/** Little-endian bfloat16, the upper half of a float32. */
function widened(bytes) {
  const view = new DataView(bytes.buffer);
  const words = Uint32Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true) << 16);
  return new Float32Array(words.buffer);
}
