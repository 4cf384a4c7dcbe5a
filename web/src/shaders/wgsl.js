/**
 * The shaders of the WebGPU engine. Maps are storage buffers of vec2u, four channels in half
 * precision (pack2x16float: every WebGPU has it, `shader-f16` or not; sums are float32). One plane per
 * group of channels, one element per block, with a border that stays zero: it is the padding of the
 * convolutions. Parameters are read from buffers, so that layers of one shape share a shader, and
 * compiling takes as long for a large network as for a small one.
 */

import { phases } from "../interpolation.js";
import { EXACT, each, groupsOf, rowsOf } from "./groups.js";

/** Blocks, columns by rows, that one workgroup of every compute shader has. */
export const WORKGROUP = [16, 4];

const SIZE = `
struct Size { blocks: vec2u, frame: vec2u, stride: u32, plane: u32 }
@group(0) @binding(0) var<uniform> size: Size;`;

const pack = (value) => `vec2u(pack2x16float(${value}.xy), pack2x16float(${value}.zw))`;

const UNPACKED = `
fn unpacked(pair: vec2u) -> vec4f {
  return vec4f(unpack2x16float(pair.x), unpack2x16float(pair.y));
}`;

/** WGSL: sums in levels, see `inIntegers` in groups.js; the product has 64 bits, by halves. */
const LEVELS = `
fn levels(sum: vec4f, factor: vec4u, high: vec4i, low: vec4u, shift: vec4u) -> vec4f {
  const HALF = vec4u(16);
  const MASK = vec4u(0xffff);
  let n = bitcast<vec4u>(vec4i(sum));
  let first = (n & MASK) * (factor & MASK);
  let second = (n >> HALF) * (factor & MASK) + (first >> HALF);
  let third = (n & MASK) * (factor >> HALF) + (second & MASK);
  var upper = (n >> HALF) * (factor >> HALF) + (second >> HALF) + (third >> HALF);
  upper += bitcast<vec4u>(high) - select(vec4u(0), factor, sum < vec4f(0));
  let lower = ((third << HALF) | (first & MASK)) + low;
  upper += select(vec4u(0), vec4u(1), lower < low);
  return vec4f(clamp(bitcast<vec4i>(upper) >> shift, vec4i(0), vec4i(255)));
}`;

/** WGSL: `pixel(place)` of the interpolated frame, whose pixels beyond the last repeat it. */
function interpolation(scale) {
  const table = phases(scale);
  return `
const FIRST = array<i32, ${scale}>(${table.map((phase) => phase.first)});
const TAPS = array<vec4f, ${scale}>(${table.map((phase) => `vec4f(${phase.taps})`)});

fn inside(taps: vec4f, first: i32, pixels: i32) -> vec4f {
  let at = first + vec4i(0, 1, 2, 3);
  let kept = select(vec4f(0), taps, (at >= vec4i(0)) & (at < vec4i(pixels)));
  return kept / dot(kept, vec4f(1));
}

fn pixel(place: vec2i) -> vec3f {
  let limit = vec2i(size.frame);
  let at = min(place, limit * ${scale} - 1);
  let base = at / ${scale};
  let phase = at - base * ${scale};
  var first = FIRST;
  var taps = TAPS;
  let corner = base + vec2i(first[phase.x], first[phase.y]);
  let across = inside(taps[phase.x], corner.x, limit.x);
  let down = inside(taps[phase.y], corner.y, limit.y);
  var sum = vec3f(0);
  for (var j = 0; j < 4; j++) {
    var row = vec3f(0);
    for (var i = 0; i < 4; i++) {
      row += across[i] * textureLoad(frame, clamp(corner + vec2i(i, j), vec2i(0), limit - 1), 0).rgb;
    }
    sum += down[j] * row;
  }
  return clamp(sum, vec3f(0), vec3f(1));
}
`;
}

/** What the first layer reads: the frame, interpolated and unshuffled, or its levels as they are. */
export function sourceShader(model) {
  const { scale, factor: r, takesLr } = model;
  const channel = (c) =>
    c < 3 * r * r ? `pixels[${c % (r * r)}].${"rgb"[Math.floor(c / (r * r))]}` : "0.0";
  const blocks = () => `
  let at = vec2i(id.xy) * ${r};
  var pixels: array<vec3f, ${r * r}>;
${each(r * r, (n) => `  pixels[${n}] = pixel(at + vec2i(${n % r}, ${Math.floor(n / r)}));`)}
${each(groupsOf(3 * r * r), (n) => `
  group = vec4f(${[0, 1, 2, 3].map((c) => channel(4 * n + c))});
  source[${n} * size.plane + place] = ${pack("group")};`)}`;
  const levels = `
  group = vec4f(round(textureLoad(frame, id.xy, 0).rgb * 255), 0);
  source[place] = ${pack("group")};`;
  return `${SIZE}
@group(0) @binding(1) var frame: texture_2d<f32>;
@group(0) @binding(2) var<storage, read_write> source: array<vec2u>;
${takesLr ? "" : interpolation(scale)}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (any(id.xy >= size.blocks)) { return; }
  let place = (id.y + 1) * size.stride + id.x + 1;
  var group: vec4f;
${takesLr ? levels : blocks()}
}`;
}

/** A convolution of `inUnits` and its activation. `uniform`: whether its parameters fit into a uniform buffer. */
export function layerShader(layer, uniform) {
  const inputs = groupsOf(layer.in);
  const outputs = groupsOf(layer.out);
  const rows = rowsOf(layer);
  const sums = (text, between) => each(rows, (p) => each(outputs, (n) => text(p, n), between), between);
  const after = {
    none: (sum) => sum,
    relu: (sum) => `max(${sum}, vec4f(0))`,
    prelu: (sum, n) => `(max(${sum}, vec4f(0)) + parameters.slope[${n}] * min(${sum}, vec4f(0)))`,
    relu8: (sum) => `round(clamp(${sum}, vec4f(0), vec4f(255)))`,
  }[layer.activation];
  const exact = (sum, n) => `levels(${sum}${each(4, (k) => `, parameters.${EXACT[k]}[${n}]`, "")})`;
  const stepped = (p, n) =>
    layer.step && !layer.exact ? `  sum${p}_${n} = sum${p}_${n} * parameters.steps[${n}] + parameters.bias[${n}];` : "";
  const floats = `
  bias: array<vec4f, ${outputs}>,
  ${layer.step ? `steps: array<vec4f, ${outputs}>,` : ""}
  ${layer.slope ? `slope: array<vec4f, ${outputs}>,` : ""}`;
  const integers = each(4, (k) => `  ${EXACT[k]}: array<vec4${k === 1 ? "i" : "u"}, ${outputs}>,`);
  const product = (y, n) => `
      taps = parameters.taps[matrix + ${y * outputs + n}];
${each(rows, (p) => `      sum${p}_${n} += taps * value${p + y};`)}`;
  const write = (p) => `
  if (y + ${p} < size.blocks.y) {
    let place = (y + ${p + 1}) * size.stride + id.x + 1;
${each(outputs, (n) => `
    let out${n} = ${(layer.exact ? exact : after)(`sum${p}_${n}`, n)};
    target_[${n} * size.plane + place] = ${pack(`out${n}`)};`)}
  }`;
  return `${SIZE}
struct Parameters {
  taps: array<mat4x4f, ${9 * inputs * outputs}>,
${layer.exact ? integers : floats}
}
@group(0) @binding(1) var<${uniform ? "uniform" : "storage, read"}> parameters: Parameters;
@group(0) @binding(2) var<storage, read> source: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> target_: array<vec2u>;
${UNPACKED}
${layer.exact ? LEVELS : ""}

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let y = id.y * ${rows};
  if (id.x >= size.blocks.x || y >= size.blocks.y) { return; }
${sums((p, n) => `  var sum${p}_${n} = ${layer.step ? "vec4f(0)" : `parameters.bias[${n}]`};`)}
  var taps: mat4x4f;
  for (var x = 0u; x < 3; x++) {
    for (var group = 0u; group < ${inputs}; group++) {
      let place = group * size.plane + y * size.stride + id.x + x;
      let matrix = (x * ${inputs} + group) * ${3 * outputs};
${each(rows + 2, (row) => `      let value${row} = unpacked(source[place + ${row} * size.stride]);`)}
${each(3, (row) => each(outputs, (n) => product(row, n)))}
    }
  }
${sums(stepped)}
${each(rows, write)}
}`;
}

/** The image plus the shuffled detail, rounded to 8 bits; drawn. On the LR image the detail is of an
 * image that nothing else needs, so it is interpolated here. */
export function outputShader(model) {
  const { factor: r, scale, takesLr } = model;
  const some = model.layers.length > 0;
  const group = (maps) => `unpacked(${maps}[(channel / 4) * size.plane + place])[channel % 4]`;
  return `${SIZE}
@group(0) @binding(1) var ${takesLr ? "frame: texture_2d<f32>" : "<storage, read> image: array<vec2u>"};
${some ? "@group(0) @binding(2) var<storage, read> detail: array<vec2u>;" : ""}
${UNPACKED}
${takesLr ? interpolation(scale) : ""}
@vertex
fn corner(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
  return vec4f(select(-1.0, 3.0, index == 1), select(-1.0, 3.0, index == 2), 0, 1);
}

@fragment
fn color(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let at = vec2u(position.xy);
  let block = at / ${r};
  let within = at - block * ${r};
  let place = (block.y + 1) * size.stride + block.x + 1;
  var value${takesLr ? " = pixel(vec2i(at))" : ": vec3f"};
  for (var c = 0u; c < 3; c++) {
    let channel = c * ${r * r} + within.y * ${r} + within.x;
    value[c] = ${takesLr ? "value[c]" : group("image")}${some ? ` + ${group("detail")}` : ""};
  }
  return vec4f(floor(clamp(value, vec3f(0), vec3f(1)) * 255 + 0.5) / 255, 1);
}`;
}
