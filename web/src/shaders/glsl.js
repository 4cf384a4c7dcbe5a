/**
 * The fragment shaders of the WebGL2 engine. Maps are layers of RGBA16F array textures, four channels
 * each, with a border of one texel that stays zero: it is the padding of the convolutions.
 */

import { phases } from "../interpolation.js";
import { EXACT, each, groupsOf } from "./groups.js";

const HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler2DArray;
`;

/** A triangle that covers the viewport. */
export const VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1);
}`;

/** GLSL: `pixel(at)` of the interpolated frame, whose pixels beyond the last repeat it. */
function interpolation(scale) {
  const table = phases(scale);
  const number = (value) => value.toExponential();
  return `
const int FIRST[${scale}] = int[${scale}](${table.map((phase) => phase.first)});
const vec4 TAPS[${scale}] = vec4[${scale}](${table.map((phase) => `vec4(${phase.taps.map(number)})`)});

vec4 inside(vec4 taps, int from, int size) {
  ivec4 at = from + ivec4(0, 1, 2, 3);
  vec4 kept = taps * vec4(greaterThanEqual(at, ivec4(0))) * vec4(lessThan(at, ivec4(size)));
  return kept / dot(kept, vec4(1));
}

vec3 pixel(ivec2 at) {
  ivec2 size = textureSize(frame, 0);
  at = min(at, size * ${scale} - 1);
  ivec2 base = at / ${scale};
  ivec2 phase = at - base * ${scale};
  ivec2 from = base + ivec2(FIRST[phase.x], FIRST[phase.y]);
  vec4 across = inside(TAPS[phase.x], from.x, size.x);
  vec4 down = inside(TAPS[phase.y], from.y, size.y);
  vec3 sum = vec3(0);
  for (int j = 0; j < 4; j++) {
    vec3 row = vec3(0);
    for (int i = 0; i < 4; i++) {
      row += across[i] * texelFetch(frame, clamp(from + ivec2(i, j), ivec2(0), size - 1), 0).rgb;
    }
    sum += down[j] * row;
  }
  return clamp(sum, 0.0, 1.0);
}
`;
}

/** The levels of the frame itself. */
const FRAME_SHADER = `${HEAD}
uniform sampler2D frame;
layout(location = 0) out vec4 group0;

void main() {
  vec3 color = texelFetch(frame, ivec2(gl_FragCoord.xy) - 1, 0).rgb;
  group0 = vec4(floor(color * 255.0 + 0.5), 0.0);
}`;

/** What the first layer reads, groups `from` to `to` (without) of it: the frame, interpolated and
 * unshuffled, or as it is. */
export function sourceShader(model, from, to) {
  if (model.takesLr) return FRAME_SHADER;
  const { scale, factor: r } = model;
  const channel = (c) =>
    c < 3 * r * r ? `pixels[${c % (r * r)}].${"rgb"[Math.floor(c / (r * r))]}` : "0.0";
  return `${HEAD}
uniform sampler2D frame;
${each(to - from, (n) => `layout(location = ${n}) out vec4 group${n};`)}
${interpolation(scale)}
void main() {
  ivec2 at = (ivec2(gl_FragCoord.xy) - 1) * ${r};
  vec3 pixels[${r * r}];
${each(r * r, (n) => `  pixels[${n}] = pixel(at + ivec2(${n % r}, ${Math.floor(n / r)}));`)}
${each(to - from, (n) => `  group${n} = vec4(${[0, 1, 2, 3].map((c) => channel(4 * (from + n) + c))});`)}
}`;
}

/** GLSL: sums in levels, see `inIntegers` in groups.js; the product has 64 bits, by halves. */
const LEVELS = `
vec4 levels(vec4 sum, uvec4 factor, ivec4 high, uvec4 low, uvec4 shift) {
  uvec4 n = uvec4(ivec4(sum));
  uvec4 first = (n & 0xffffu) * (factor & 0xffffu);
  uvec4 second = (n >> 16u) * (factor & 0xffffu) + (first >> 16u);
  uvec4 third = (n & 0xffffu) * (factor >> 16u) + (second & 0xffffu);
  uvec4 upper = (n >> 16u) * (factor >> 16u) + (second >> 16u) + (third >> 16u);
  upper += uvec4(high) - factor * uvec4(lessThan(sum, vec4(0)));
  uvec4 lower = ((third << 16u) | (first & 0xffffu)) + low;
  upper += uvec4(lessThan(lower, low));
  return vec4(clamp(ivec4(upper) >> shift, 0, 255));
}`;

/** A convolution of `inUnits` and its activation: `outputs` groups of what it gives. */
export function layerShader(layer, outputs) {
  const inputs = groupsOf(layer.in);
  const after = {
    none: (sum) => sum,
    relu: (sum) => `max(${sum}, 0.0)`,
    prelu: (sum, n) => `max(${sum}, 0.0) + slope[${n}] * min(${sum}, 0.0)`,
    relu8: (sum) => `roundEven(clamp(${sum}, 0.0, 255.0))`,
  }[layer.activation];
  const exact = (sum, n) => `levels(${sum}${each(4, (k) => `, ${EXACT[k]}[${n}]`, "")})`;
  const stepped = (n) => (layer.step && !layer.exact ? `  sum${n} = sum${n} * steps[${n}] + bias[${n}];` : "");
  const floats = `
  vec4 bias[${outputs}];
  ${layer.step ? `vec4 steps[${outputs}];` : ""}
  ${layer.slope ? `vec4 slope[${outputs}];` : ""}`;
  const integers = each(4, (k) => `  ${k === 1 ? "ivec4" : "uvec4"} ${EXACT[k]}[${outputs}];`);
  const row = (y) => `
      value = texelFetch(source, ivec3(at + ivec2(x, ${y}), group), 0);
${each(outputs, (n) => `      sum${n} += taps[matrix + ${y * outputs + n}] * value;`)}`;
  return `${HEAD}
uniform sampler2DArray source;
layout(std140) uniform Parameters {
  mat4 taps[${9 * inputs * outputs}];
${layer.exact ? integers : floats}
};
${each(outputs, (n) => `layout(location = ${n}) out vec4 group${n};`)}
${layer.exact ? LEVELS : ""}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy) - 1;
  vec4 value;
${each(outputs, (n) => `  vec4 sum${n} = ${layer.step ? "vec4(0)" : `bias[${n}]`};`)}
  for (int x = 0; x < 3; x++) {
    for (int group = 0; group < ${inputs}; group++) {
      int matrix = (x * ${inputs} + group) * ${3 * outputs};
${each(3, row)}
    }
  }
${each(outputs, stepped)}
${each(outputs, (n) => `  group${n} = ${(layer.exact ? exact : after)(`sum${n}`, n)};`)}
}`;
}

/** The image plus the shuffled detail, rounded to 8 bits. `height` turns it upside down: of the
 * output for a canvas, whose first row is the lowest; 0 for a texture. On the LR image the detail
 * is of an image that nothing else needs, so it is interpolated here. */
export function outputShader(model) {
  const { factor: r, scale, takesLr } = model;
  const detail = model.layers.length ? " + fetch(detail, block, channel)" : "";
  return `${HEAD}
${takesLr ? "uniform sampler2D frame;" : "uniform sampler2DArray image;"}
uniform sampler2DArray detail;
uniform int height;
out vec4 color;
${takesLr ? interpolation(scale) : ""}
float fetch(sampler2DArray maps, ivec2 block, int channel) {
  return texelFetch(maps, ivec3(block + 1, channel / 4), 0)[channel % 4];
}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  if (height > 0) at.y = height - 1 - at.y;
  ivec2 block = at / ${r};
  ivec2 within = at - block * ${r};
  vec3 value${takesLr ? " = pixel(at)" : ""};
  for (int c = 0; c < 3; c++) {
    int channel = c * ${r * r} + within.y * ${r} + within.x;
    value[c] = ${takesLr ? "value[c]" : "fetch(image, block, channel)"}${detail};
  }
  color = vec4(floor(clamp(value, 0.0, 1.0) * 255.0 + 0.5) / 255.0, 1.0);
}`;
}
