/**
 * The layer shaders of both GPU engines with their weights as literals in unrolled code, for
 * experiments/web/weights.py; all else is as in web/src/shaders. Imported beside a copy of these.
 */
import * as glsl from "./shaders/glsl-uniform.js";
import * as wgsl from "./shaders/wgsl-uniform.js";
import { groupsOf, pack, rowsOf } from "./shaders/groups.js";

/** `sums(x, y, group, output, matrix)` for each product of a layer, `matrix` as 16 literals. */
function unrolled(layer, outputs, values, read, product) {
  const inputs = groupsOf(layer.in);
  const lines = [];
  for (let x = 0; x < 3; x++) {
    for (let group = 0; group < inputs; group++) {
      lines.push(read(x, group));
      for (let y = 0; y < 3; y++) {
        if (read.length > 2) lines.push(read(x, group, y));
        for (let n = 0; n < outputs; n++) {
          const matrix = (x * inputs + group) * 3 * outputs + y * outputs + n;
          const literals = Array.from(values.subarray(16 * matrix, 16 * matrix + 16), (value) => value.toExponential());
          lines.push(product(y, n, literals));
        }
      }
    }
  }
  return lines.join("\n");
}

/** The text of a shader with its loop, which ends at column 2, replaced. */
const withLoop = (text, loop) => text.replace(/^ {2}for \((?:int|var) x = .*?^ {2}\}$/ms, () => loop);

export function wgslLayer(layer, uniform) {
  const outputs = groupsOf(layer.out);
  const rows = rowsOf(layer);
  const each = (count, text) => Array.from({ length: count }, (_, n) => text(n)).join("\n");
  const read = (x, group) => each(rows + 2, (row) =>
    `  value${row} = unpacked(source[${group}u * size.plane + (y + ${row}) * size.stride + id.x + ${x}]);`);
  const product = (y, n, literals) =>
    `  taps = mat4x4f(${literals});\n` + each(rows, (p) => `  sum${p}_${n} += taps * value${p + y};`);
  const loop = unrolled(layer, outputs, pack(layer, 0, outputs), read, product);
  return withLoop(wgsl.layerShader(layer, uniform), each(rows + 2, (row) => `  var value${row}: vec4f;`) + "\n" + loop);
}

export function glslLayer(layer, outputs) {
  if (outputs !== groupsOf(layer.out)) throw new Error("literals are measured in one pass a layer");
  const read = (x, group, y) => y === undefined ? ""
    : `  value = texelFetch(source, ivec3(at + ivec2(${x}, ${y}), ${group}), 0);`;
  const product = (y, n, literals) => `  sum${n} += mat4(${literals}) * value;`;
  return withLoop(glsl.layerShader(layer, outputs), unrolled(layer, outputs, pack(layer, 0, outputs), read, product));
}
