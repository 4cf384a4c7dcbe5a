/**
 * What a frame costs on a GPU, counted from how the engines lay a network out and not measured.
 */

import { geometry, groupsOf, inUnits, packedBytes, passesOf, planes, shares } from "./shaders/groups.js";

/** Of most desktop GPUs; the least that WebGL2 allows is LEAST. */
export const USUAL = { drawBuffers: 8, blockBytes: 65536 };
export const LEAST = { drawBuffers: 4, blockBytes: 16384 };

/**
 * @param {"webgpu" | "webgl2"} engine
 * @param {import("./model.js").Model} model of its layers only `in`, `out`, `slope` and `step` are read
 * @returns {{passes: number, multiplyAdds: number, traffic: number, memory: number}} passes a frame;
 *   multiply-adds of the convolutions, those with channels that only fill a group up included; bytes
 *   read and written if each pass reads each of its inputs once, as it does with a cache that holds
 *   a few rows; bytes of textures and buffers, canvas not included
 */
export function counts(engine, model, width, height, { drawBuffers, blockBytes } = USUAL) {
  const size = geometry(model, width, height);
  const layers = inUnits(model);
  const blocks = size.blocksWide * size.blocksHigh;
  const frame = 4 * width * height;
  const output = 4 * size.outWidth * size.outHeight;
  const element = 8; // bytes: four channels in half precision
  const maps = size.sourceGroups + (model.layers.length ? 2 * size.hiddenGroups : 0);
  const elements = engine === "webgpu"
    ? planes(model, size).plane
    : (size.blocksWide + 2) * (size.blocksHigh + 2);
  const layerPasses = layers.map((layer) =>
    engine === "webgpu" ? [[0, groupsOf(layer.out)]] : passesOf(layer, drawBuffers, blockBytes));
  const sourcePasses = engine === "webgpu" ? 1 : shares(size.sourceGroups, drawBuffers).length;
  const parameters = sum(layers, (layer) => packedBytes(layer, groupsOf(layer.out)));
  const layerTraffic = sum(layers, (layer, index) =>
    element * blocks * (layerPasses[index].length * groupsOf(layer.in) + groupsOf(layer.out)));
  const detail = model.layers.length ? element * blocks * size.imageGroups : 0;
  const base = model.takesLr ? frame : element * blocks * size.imageGroups;
  return {
    passes: sourcePasses + sum(layerPasses, (passes) => passes.length) + 1,
    multiplyAdds: sum(layers, (layer) => 144 * groupsOf(layer.in) * groupsOf(layer.out) * blocks),
    traffic: sourcePasses * frame + element * blocks * size.sourceGroups + layerTraffic + parameters
      + base + detail + output,
    memory: frame + element * elements * maps + parameters,
  };
}

/**
 * A table in Markdown.
 * @param {import("./model.js").Model[]} models
 * @param {[number, number][]} sizes width, height of the LR frame
 */
export function table(models, sizes) {
  const lines = [
    "| student | frame | engine | passes | GMAC | MB read and written | MB of memory |",
    "|---|---|---|---|---|---|---|",
  ];
  const engines = [
    ["WebGPU", "webgpu", USUAL],
    ["WebGL2", "webgl2", USUAL],
    ["WebGL2, least limits", "webgl2", LEAST],
  ];
  for (const model of models) {
    for (const [width, height] of sizes) {
      for (const [label, engine, limits] of engines) {
        const { passes, multiplyAdds, traffic, memory } = counts(engine, model, width, height, limits);
        const amounts = [multiplyAdds / 1e9, traffic / 1e6, memory / 1e6];
        const figures = [passes, ...amounts.map((amount) => Number(amount.toPrecision(3)))];
        const frame = `${width}×${height} → ${width * model.scale}×${height * model.scale}`;
        lines.push(`| ${[model.name, frame, label, ...figures].join(" | ")} |`);
      }
    }
  }
  return lines.join("\n");
}

function sum(items, value) {
  return items.reduce((total, item, index) => total + value(item, index), 0);
}
