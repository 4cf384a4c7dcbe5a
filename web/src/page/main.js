/** The page: what is open, the student that restores it, what is said about both. */

import { requireDrawable } from "../canvas.js";
import { Enhancer, sizeOf } from "../kd-web.js";
import { Figures } from "./figures.js";
import { askForCamera, Live } from "./live.js";
import { chosen, fillSettings } from "./settings.js";
import { Stage } from "./stage.js";
import { Transport } from "./transport.js";

const find = (selector) => document.querySelector(selector);
const MODELS = new URL("../models/", import.meta.url);
const SAMPLE = new URL("../sample.webp", import.meta.url);

class App {
  stage = new Stage();
  figures = new Figures();
  transport = new Transport();
  enhancer = null;
  #live = null;
  #still = null; // ImageBitmap
  #name = "image";
  #opening = 0; // counts what was opened or closed: only the latest is shown
  #loading = new AbortController();
  #showing = new AbortController(); // of the still

  async start() {
    this.#listen();
    const answer = await fetch(new URL("index.json", MODELS));
    if (!answer.ok) throw new Error("models/index.json is missing: build the page again.");
    fillSettings(await answer.json(), () => this.#attempt(() => this.load()));
    await this.load();
    await this.#openSample(0);
  }

  /** Takes the chosen student and engine into use, and shows what is open again. */
  async load() {
    this.#loading.abort();
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    const { file, engine } = chosen();
    this.say("Trying the engines of this browser…");
    const next = await Enhancer.load(new URL(file, MODELS), { engine, signal });
    this.enhancer?.dispose();
    this.enhancer = next;
    next.addEventListener("recovered", ({ detail }) => {
      this.say(`The device was lost and replaced (${detail.reason}): ${this.#engineInWords()}`);
    });
    this.trouble(refusal(next, engine));
    this.#sayLive();
    if (this.#still) await this.#showStill();
    this.#live?.refresh();
  }

  /** @param {File} file an image or video */
  async open(file) {
    const turn = this.#close();
    this.trouble("");
    this.#name = file.name.replace(/\.[^.]*$/, "") || "image";
    if (file.type.startsWith("video/")) {
      this.transport.show(true);
      return this.#openLive((live) => live.openFile(file), turn);
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      throw new Error(`${file.name}: this browser cannot read it as an image or video.`);
    }
    if (turn !== this.#opening) return bitmap.close();
    this.#still = bitmap;
    await this.#showStill();
  }

  async toggleCamera() {
    if (find("#camera").getAttribute("aria-pressed") !== "true") return this.openCamera();
    const turn = this.#close();
    this.trouble("");
    await this.#openSample(turn);
  }

  /** In the chosen size. What is open stays where the camera is refused. */
  async openCamera() {
    this.trouble("");
    const before = this.#opening;
    const [width, height] = find("#camera-size").value.split("x").map(Number);
    const stream = await askForCamera(width, height);
    if (before !== this.#opening) return stream.getTracks().forEach((track) => track.stop());
    const turn = this.#close();
    this.#name = "camera";
    find("#camera").setAttribute("aria-pressed", "true");
    await this.#openLive((live) => live.openCamera(stream), turn);
  }

  /** The live source is gone. */
  ended(reason) {
    this.#close();
    if (this.enhancer) this.#sayLive();
    this.trouble(reason);
  }

  say(text) {
    find("#status").textContent = text;
  }

  trouble(error) {
    find("#trouble").textContent = error.message ?? error;
  }

  async #openLive(opened, turn) {
    const live = (this.#live = new Live(this));
    this.figures.show(true);
    try {
      await opened(live);
      if (turn !== this.#opening) return live.close();
      live.visibility(!document.hidden);
      if (this.enhancer) this.#sayLive();
      find("#download").disabled = false;
    } catch (error) {
      live.close();
      if (turn === this.#opening) this.#close();
      throw error;
    }
  }

  async #showStill() {
    if (!this.enhancer) return;
    this.#showing.abort();
    this.#showing = new AbortController();
    const { signal } = this.#showing;
    const bitmap = this.#still;
    const { width, height } = sizeOf(bitmap);
    const { scale } = this.enhancer;
    requireDrawable({ width, height }, scale);
    find("#download").disabled = true;
    this.stage.fit(width, height, scale);
    this.stage.drawBefore(bitmap);
    const progress = (share) => this.say(`${Math.round(100 * share)} % done`);
    const start = performance.now();
    try {
      await this.enhancer.process(this.stage.before, this.stage.after, { progress, signal });
    } catch (error) {
      if (signal.aborted) return; // for what is shown instead
      throw error;
    }
    if (signal.aborted) return;
    const took = Math.round(performance.now() - start);
    this.say(this.#inWords({ width, height }, ` in ${took} ms`));
    find("#download").disabled = false;
  }

  async #download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await this.stage.png());
    link.download = `${this.#name}_x${this.enhancer.scale}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  #close() {
    this.#showing.abort();
    this.#live?.close();
    this.#still?.close();
    this.#live = this.#still = null;
    this.figures.show(false);
    this.transport.show(false);
    find("#camera").setAttribute("aria-pressed", "false");
    find("#download").disabled = true;
    return ++this.#opening;
  }

  /** Unless something else has been opened since `turn`: what people open takes its place. */
  async #openSample(turn) {
    const answer = await fetch(SAMPLE);
    const bitmap = await createImageBitmap(await answer.blob());
    if (turn !== this.#opening) return bitmap.close();
    [this.#still, this.#name] = [bitmap, "sample"];
    await this.#showStill();
  }

  #sayLive() {
    const size = sizeOf(find("#video"));
    this.say(this.#live && size.width ? this.#inWords(size) : this.#engineInWords());
  }

  #inWords({ width, height }, time = "") {
    const { scale } = this.enhancer;
    const sizes = `${width} × ${height} to ${width * scale} × ${height * scale}`;
    return `${sizes}${time}. ${this.#engineInWords()}`;
  }

  #engineInWords() {
    const { model, engine, description } = this.enhancer;
    return `${model.name} on ${engine}${description ? ` (${description})` : ""}.`;
  }

  #listen() {
    const open = (files) => files.length && this.#attempt(() => this.open(files[0]));
    const file = find("#file");
    file.addEventListener("change", () => {
      open([...file.files]);
      file.value = ""; // the same file may be chosen again
    });
    document.addEventListener("paste", (event) => open(event.clipboardData.files));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      find("#frame").classList.remove("drop");
      open(event.dataTransfer.files);
    });
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      find("#frame").classList.add("drop");
    });
    document.addEventListener("dragleave", () => find("#frame").classList.remove("drop"));
    document.addEventListener("visibilitychange", () => this.#live?.visibility(!document.hidden));
    document.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.target !== document.body) return;
      event.preventDefault();
      this.transport.toggle();
    });
    find("#download").addEventListener("click", () => this.#attempt(() => this.#download()));
    const camera = find("#camera");
    camera.addEventListener("click", () => this.#attempt(() => this.toggleCamera()));
    find("#camera-size").addEventListener("change", () => {
      if (camera.getAttribute("aria-pressed") !== "true") return;
      this.#attempt(() => this.openCamera());
    });
    if (!navigator.mediaDevices?.getUserMedia) {
      camera.disabled = true;
      camera.textContent = "No camera here (it needs https)";
    }
  }

  async #attempt(work) {
    try {
      await work();
    } catch (error) {
      if (error.name !== "AbortError") this.trouble(error);
    }
  }
}

/** What to say where the engine that was asked for is not the one in use. */
function refusal(enhancer, asked) {
  const refused = enhancer.refused.find(({ name }) => name === asked);
  return refused ? `${asked} cannot be used: ${refused.reason}` : "";
}

if (new URLSearchParams(location.search).has("benchmark")) {
  const { showBenchmark } = await import("./benchmark.js");
  await showBenchmark(MODELS);
} else {
  const app = new App();
  app.start().catch((error) => {
    app.say("");
    app.trouble(error);
  });
}
