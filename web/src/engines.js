/** Which engine runs a model here: tried on its golden frame, then timed. */

import { goldenDifference } from "./golden.js";

/** In the order of trial; each is a module of `engines/`. */
export const ENGINES = ["webgpu", "webgl2", "wasm"];

const LEVELS = 1; // largest difference from torch on the golden frame
const ENOUGH_MS = 1000 / 60; // an engine that keeps up with a screen ends the search
const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render/i; // renderers on the processor
const TRIAL_MS = 300;
const ANSWER_MS = 20000; // longer than any shader takes to compile; drivers may hang

/** @param {string} name one of ENGINES */
export async function createEngine(name, model, options) {
  const { create } = await import(`./engines/${name}.js`);
  return create(model, options);
}

/**
 * Whether the engine `name` computes what torch did, and how long a frame takes.
 *
 * @param {{width: number, height: number}} size of the LR frames that are timed
 * @returns {Promise<{name: string, reason?: string, description?: string, difference?: number,
 *   createMs?: number, frameMs?: number, timings?: object}>} `reason` says why it cannot be used;
 *   `frameMs` is the shortest of several frames, `createMs` includes the first frame
 */
export async function tryEngine(name, model, size, trialMs = TRIAL_MS) {
  try {
    return await answered(() => trial(name, model, size, trialMs), ANSWER_MS + 2 * trialMs);
  } catch (error) {
    return { name, reason: error.message };
  }
}

async function trial(name, model, size, trialMs) {
  const difference = await goldenDifference((...args) => createEngine(name, ...args), model);
  if (!(difference <= LEVELS)) {
    return { name, difference, reason: `its output here is ${difference} levels from the model's` };
  }
  const frame = testFrame(size);
  const start = performance.now();
  const engine = await createEngine(name, model, size);
  try {
    await engine.process(frame);
    const createMs = performance.now() - start;
    let frameMs = Infinity;
    let timings;
    const end = performance.now() + trialMs;
    do {
      const before = performance.now();
      await engine.process(frame);
      const took = performance.now() - before;
      if (took < frameMs) [frameMs, timings] = [took, { ...engine.timings }];
    } while (performance.now() < end);
    return { name, difference, createMs, frameMs, timings, description: engine.description };
  } finally {
    engine.dispose();
  }
}

/**
 * Usable engines, the fastest first. The search ends with one that is fast enough, and a GPU that
 * software stands in for is tried only where nothing else works: compiling for it takes seconds.
 * @returns {Promise<{usable: object[], refused: object[]}>} of what `tryEngine` returns
 */
export async function rankEngines(model, size, names = ENGINES) {
  const usable = [];
  const refused = [];
  const software = await softwareGpus();
  const isSoftware = (name) => software.includes(name);
  const order = [...names.filter((name) => !isSoftware(name)), ...names.filter(isSoftware)];
  for (const name of order) {
    if (isSoftware(name) && usable.length) break;
    const result = await tryEngine(name, model, size);
    (result.reason ? refused : usable).push(result);
    if (result.frameMs <= ENOUGH_MS) break;
  }
  usable.sort((a, b) => a.frameMs - b.frameMs);
  return { usable, refused };
}

/** Names of the engines whose GPU is the processor in disguise. */
async function softwareGpus() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const software = adapter?.info?.isFallbackAdapter ? ["webgpu"] : [];
  const options = { failIfMajorPerformanceCaveat: true };
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2", options);
  const known = gl?.getExtension("WEBGL_debug_renderer_info");
  const renderer = gl?.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  if (!gl || SOFTWARE.test(renderer)) software.push("webgl2");
  return software;
}

/** A frame with something in every part of it. */
function testFrame({ width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const gradient = context.createLinearGradient(0, 0, width, height);
  for (let i = 0; i <= 16; i++) gradient.addColorStop(i / 16, `hsl(${i * 67} 70% ${30 + i * 3}%)`);
  context.fillStyle = gradient;
  context.fillRect(0, 0, width, height);
  return canvas;
}

function answered(work, ms) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer in ${ms / 1000} s`)), ms);
    work().then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
