/**
 * Reads the file that `kd-export NAME -o web/` writes; its format is in web/README.md.
 *
 * @typedef {{in: number, out: number, activation: "none" | "relu" | "prelu",
 *   weight: Float32Array, bias: Float32Array, slope: Float32Array | null, peak: Float32Array}} Layer
 *   `weight` is (out, in, 3, 3); `slope` and `peak` are (out).
 * @typedef {{width: number, height: number, data: Uint8Array}} Pixels  (height, width, 3)
 * @typedef {{name: string, scale: number, unshuffleFactor: number, radius: number,
 *   degradation: string | null, parameters: number, layers: Layer[],
 *   golden: {lr: Pixels, sr: Pixels}}} Model
 */

const FORMAT = 1;

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
  if (stated.format !== FORMAT || stated.takes_lr || !stated.skip) {
    throw new Error(`${source}: written by another version; export it again`);
  }
  const layers = stated.layers.map((layer, index) => {
    const slope = layer.activation === "prelu" ? tensor(`layers.${index}.slope`).data : null;
    return {
      in: layer.in,
      out: layer.out,
      activation: layer.activation,
      weight: tensor(`layers.${index}.weight`).data,
      bias: tensor(`layers.${index}.bias`).data,
      slope: slope && slope.length === 1 ? new Float32Array(layer.out).fill(slope[0]) : slope,
      peak: tensor(`layers.${index}.peak`).data,
    };
  });
  const pixels = (name) => {
    const { shape, data } = tensor(name);
    return { height: shape[0], width: shape[1], data };
  };
  return {
    name: stated.name,
    scale: stated.scale,
    unshuffleFactor: stated.unshuffle_factor,
    radius: stated.radius,
    degradation: stated.degradation,
    parameters: stated.parameters,
    layers,
    golden: { lr: pixels("golden.lr"), sr: pixels("golden.sr") },
  };
}

/** The interpolation alone: what the student starts from. @param {Model} model @returns {Model} */
export function interpolationOf(model) {
  return { ...model, name: "bicubic", layers: [], parameters: 0 };
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
    return { shape, data: dtype === "U8" ? bytes : widened(bytes) };
  };
  return { stated, tensor };
}

/** Little-endian bfloat16, the upper half of a float32. */
function widened(bytes) {
  const view = new DataView(bytes.buffer);
  const words = Uint32Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true) << 16);
  return new Float32Array(words.buffer);
}
