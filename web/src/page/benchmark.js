/** `?benchmark`: every engine and student at the sizes of calls, as a table and as text to copy. */

import { ENGINES, tryEngine } from "../engines.js";
import { loadModel } from "../model.js";

const SIZES = [
  { width: 320, height: 180 },
  { width: 640, height: 360 },
  { width: 1280, height: 720 },
];
const TRIAL_MS = 1000;
const TOO_SLOW_MS = 2000; // larger frames than one that takes this long are left out

/** @param {URL} models the folder with index.json */
export async function showBenchmark(models) {
  const root = document.querySelector("main");
  root.innerHTML = MARKUP;
  const find = (selector) => root.querySelector(selector);
  const parameters = new URLSearchParams(location.search);
  const only = (key, name) => !parameters.get(key) || parameters.get(key).split(",").includes(name);
  const students = await (await fetch(new URL("index.json", models))).json();
  const result = { machine: await machine(), levels: "largest difference from torch", rows: [] };
  const write = () => (find("textarea").value = JSON.stringify(result, null, 1));
  find("#start").addEventListener("click", async () => {
    find("#start").disabled = true;
    for (const { name: student, file } of students.filter(({ name }) => only("student", name))) {
      const model = await loadModel(new URL(file, models));
      for (const engine of ENGINES.filter((name) => only("engine", name))) {
        for (const size of SIZES.filter(({ width, height }) => only("size", `${width}x${height}`))) {
          find("#status").textContent = `${student}, ${engine}, ${size.width} × ${size.height}…`;
          const trial = await tryEngine(engine, model, size, TRIAL_MS);
          result.rows.push({ student, engine, ...size, ...rounded(trial) });
          find("tbody").append(row(result.rows.at(-1)));
          write();
          if (trial.reason || trial.frameMs > TOO_SLOW_MS) break;
        }
      }
    }
    find("#status").textContent = "Done.";
    find("#copy").disabled = false;
  });
  find("#copy").addEventListener("click", async () => {
    find("textarea").select();
    await navigator.clipboard.writeText(find("textarea").value);
    find("#status").textContent = "Copied.";
  });
  write();
  find("#start").disabled = false; // before that a click would be lost
}

async function machine() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const { vendor, architecture, description } = adapter?.info ?? {};
  return {
    version: "{{version}}",
    browser: navigator.userAgent,
    threads: navigator.hardwareConcurrency,
    webgpu: adapter ? { vendor, architecture, description } : null,
  };
}

function rounded(trial) {
  const numbers = ([key, value]) => [key, typeof value === "number" ? +value.toFixed(2) : value];
  const { name, timings, ...rest } = trial;
  const stages = Object.fromEntries(Object.entries(timings ?? {}).map(numbers));
  return { ...Object.fromEntries(Object.entries(rest).map(numbers)), timings: stages };
}

function row({ student, engine, width, height, frameMs, createMs, difference, reason }) {
  const line = document.createElement("tr");
  const figures = reason ? [reason, "", "", ""] : [frameMs, 1000 / frameMs, createMs, difference];
  const shown = figures.map((value) => (typeof value === "number" ? +value.toFixed(1) : value));
  for (const text of [student, engine, `${width} × ${height}`, ...shown]) {
    line.insertCell().textContent = text;
  }
  return line;
}

const MARKUP = `
  <h2>Benchmark of this device</h2>
  <p>Each engine on each student, as long as frames take less than two seconds: milliseconds of the
    fastest frame of one second, frames a second, milliseconds of the first frame with what is
    compiled for it, and how far the output is from torch in levels of 0 to 255.</p>
  <div class="bar">
    <button id="start" type="button" disabled>Start</button>
    <button id="copy" type="button" disabled>Copy the result</button>
    <a href="./">Back</a>
  </div>
  <p id="status" role="status"></p>
  <div class="scroll"><table>
    <thead><tr><th>student</th><th>engine</th><th>frame</th><th>ms</th><th>frames/s</th>
      <th>first frame ms</th><th>levels</th></tr></thead>
    <tbody></tbody>
  </table></div>
  <label>Result <textarea readonly spellcheck="false"></textarea></label>`;
