// Milliseconds of a frame in the WASM engine's kernel and in onnxruntime-web, in node:
//   npm install onnxruntime-web   (in any folder, FOLDER below)
//   node experiments/web/wasm.mjs FOLDER OUT.json STUDENT.kdw STUDENT.onnx [STUDENT.kdw ...]
// Each figure is the shortest of several runs, in which all students take turns. Ours is the whole
// way from the small RGBA frame to the large one; onnxruntime's is the network alone, from its input
// in floats: the interpolated image or the LR one.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, loadavg } from "node:os";
import { resolve } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { quantize } from "../../web/src/engines/fixedpoint.js";
import { Kernel } from "../../web/src/engines/kernel.js";
import { parseModel } from "../../web/src/model.js";

const SIZES = [[320, 180], [640, 360]];
const ROUNDS = 12;

if (isMainThread) await main(process.argv.slice(2));
else serve(workerData);

async function main([folder, out, ...files]) {
  const require = createRequire(resolve(folder, "package.json"));
  const ort = require("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const wasm = new URL("../../web/src/engines/student.wasm", import.meta.url);
  const module = new WebAssembly.Module(readFileSync(wasm));
  const results = [];
  for (const [width, height] of SIZES) {
    const students = [];
    for (let n = 0; n < files.length; n += 2) {
      const model = parseModel(new Uint8Array(readFileSync(files[n])).buffer);
      const { name, scale, factor, takesLr } = model;
      const size = { scale, factor, takesLr, width, height };
      const ways = { one: await threads(module, model, size, 1), two: await threads(module, model, size, 2) };
      ways.peer = await peerOf(ort, files[n + 1], takesLr ? [height, width] : [scale * height, scale * width]);
      students.push({ name, ways, best: { one: Infinity, two: Infinity, peer: Infinity } });
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const { ways, best } of students) {
        for (const [name, way] of Object.entries(ways)) {
          if (name === "peer" && round >= 4) continue;
          const start = performance.now();
          await way.run();
          best[name] = Math.min(best[name], performance.now() - start);
        }
      }
    }
    for (const { name, ways, best } of students) {
      for (const way of Object.values(ways)) way.end();
      const rounded = Object.fromEntries(Object.entries(best).map(([way, ms]) => [way, Math.round(ms * 10) / 10]));
      results.push({ student: name, width, height, ...rounded, ratio: Math.round((10 * best.peer) / best.one) / 10 });
      console.log(JSON.stringify(results.at(-1)));
    }
  }
  const { version } = JSON.parse(readFileSync(resolve(folder, "node_modules/onnxruntime-web/package.json"), "utf8"));
  const machine = { cpu: cpus()[0].model, cpus: cpus().length, node: process.version, load: loadavg()[0] };
  const keys = { one: "ms, one thread", two: "ms, two threads", peer: `ms, onnxruntime-web ${version}, one thread`, ratio: "peer / one" };
  writeFileSync(out, JSON.stringify({ machine, keys, results }, null, 1) + "\n");
  process.exit(0);
}

async function peerOf(ort, file, [height, width]) {
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(file)), { executionProviders: ["wasm"] });
  const data = Float32Array.from({ length: 3 * width * height }, Math.random);
  const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", data, [1, 3, height, width]) };
  return { run: () => session.run(feeds), end() {} };
}

/** The frame in `count` bands, by threads as wasm.js has them. */
async function threads(module, model, size, count) {
  const rows = Math.ceil((size.height * size.scale) / size.factor);
  const layers = quantize(model);
  const frame = Uint8Array.from({ length: 4 * size.width * size.height }, () => Math.random() * 256);
  const bands = await Promise.all(Array.from({ length: count }, async (_, n) => {
    const [first, end] = [n, n + 1].map((at) => Math.round((at * rows) / count));
    const worker = new Worker(new URL(import.meta.url), { workerData: { module, layers, size, first, end } });
    const answer = () => new Promise((done) => worker.once("message", done));
    const { read, bytes } = await answer();
    const band = { worker, input: new ArrayBuffer(read[1] - read[0]), output: new ArrayBuffer(bytes) };
    band.run = async () => {
      new Uint8Array(band.input).set(frame.subarray(...read));
      const { input, output } = band;
      worker.postMessage({ input, output }, [input, output]);
      Object.assign(band, await answer());
    };
    return band;
  }));
  return {
    run: () => Promise.all(bands.map((band) => band.run())),
    end: () => bands.forEach(({ worker }) => worker.terminate()),
  };
}

function serve({ module, layers, size, first, end }) {
  const kernel = new Kernel(module, layers, size, end - first);
  const read = kernel.rowsRead(first, end).map((row) => 4 * size.width * row);
  parentPort.on("message", ({ input, output }) => {
    kernel.frame.set(new Uint8Array(input), read[0]);
    new Uint8Array(output).set(kernel.run(first, end));
    parentPort.postMessage({ input, output }, [input, output]);
  });
  parentPort.postMessage({ read, bytes: kernel.run(first, end).length });
}
