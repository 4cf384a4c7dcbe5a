// Prints the table of experiments/web/README.md: node experiments/web/counts.mjs FILE.kdw ...
// The files are those of kd-export NAME -o FILE.kdw.
import { readFileSync } from "node:fs";
import { table } from "../../web/src/counts.js";
import { parseModel } from "../../web/src/model.js";

const SIZES = [[320, 180], [640, 360], [960, 540]];
const read = (file) => new Uint8Array(readFileSync(file)).buffer;
console.log(table(process.argv.slice(2).map((file) => parseModel(read(file), file)), SIZES));
