// node kernel.mjs STUDENT.WASM JOB.JSON: frames through the kernel of the WASM engine, in this
// thread. The job: [{model, width, height, frame, output, bands}], where `frame` names a file of
// RGBA pixels, `output` the one to be written, and `bands` says into how many the frame is cut.
// Prints, by model, the largest sum of absolute weights of one sum of products.
import { readFileSync, writeFileSync } from "node:fs";
import { quantize } from "../../web/src/engines/fixedpoint.js";
import { Kernel } from "../../web/src/engines/kernel.js";
import { parseModel } from "../../web/src/model.js";

const [wasm, job] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(wasm));
const models = new Map();
for (const { model, width, height, frame, output, bands } of JSON.parse(readFileSync(job, "utf8"))) {
  if (!models.has(model)) {
    const parsed = parseModel(new Uint8Array(readFileSync(model)).buffer);
    models.set(model, { ...parsed, layers: quantize(parsed) });
  }
  const { scale, factor, takesLr, layers } = models.get(model);
  const rows = Math.ceil((height * scale) / factor);
  const pixels = readFileSync(frame);
  const parts = [];
  for (let band = 0; band < bands; band++) {
    const [first, end] = [band, band + 1].map((n) => Math.round((n * rows) / bands));
    if (first === end) continue;
    const kernel = new Kernel(module, layers, { scale, factor, takesLr, width, height }, end - first);
    const [from, to] = kernel.rowsRead(first, end).map((row) => 4 * row * width);
    kernel.frame.set(pixels.subarray(from, to), from);
    parts.push(Buffer.from(kernel.run(first, end)));
  }
  writeFileSync(output, Buffer.concat(parts));
}
console.log(JSON.stringify([...models].map(([model, { layers }]) => [model, largestSum(layers)])));

function largestSum(layers) {
  let largest = 0;
  for (const { weights, pairs, quads } of layers) {
    const group = 4 * 8 * pairs; // of four quads, or the rest of them
    for (let position = 0; position < 16; position++) {
      const ofPosition = weights.subarray(position * quads * pairs * 8, (position + 1) * quads * pairs * 8);
      for (let from = 0; from < ofPosition.length; from += group) {
        const part = ofPosition.subarray(from, from + group);
        const stride = part.length / pairs;
        const sums = new Float64Array(stride / 2);
        part.forEach((weight, at) => (sums[(at % stride) >> 1] += Math.abs(weight)));
        largest = Math.max(largest, ...sums);
      }
    }
  }
  return largest;
}
