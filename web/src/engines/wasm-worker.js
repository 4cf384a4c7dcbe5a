/** Computes one band of each frame; see wasm.js. */

import { Kernel } from "./kernel.js";

let kernel;
let band;

self.onmessage = ({ data }) => {
  if (data.module) start(data);
  else run(data);
};

function start({ module, layers, size, first, last }) {
  band = [first, last];
  kernel = new Kernel(module, layers, size, last - first);
  self.postMessage({ rows: kernel.rowsRead(first, last), outputBytes: kernel.run(first, last).length });
}

function run({ input, output }) {
  const [from] = kernel.rowsRead(...band);
  kernel.frame.set(new Uint8Array(input), 4 * kernel.width * from);
  new Uint8Array(output).set(kernel.run(...band));
  self.postMessage({ input, output }, [input, output]);
}
