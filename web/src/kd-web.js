/**
 * kd-web: a student of kd_lightning on images, frames and camera tracks. No dependency.
 *
 *     import { Enhancer } from "./kd-web.js";
 *     const enhancer = await Enhancer.load("models/student_tiny.kdw");
 *     await enhancer.process(source, canvas);
 *
 * Types: kd-web.d.ts.
 */

import { requireDrawable } from "./canvas.js";
import { createEngine, ENGINES, rankEngines, tryEngine } from "./engines.js";
import { loadModel } from "./model.js";
import { planTiles } from "./tiles.js";
import { processTrack } from "./track.js";

export { ENGINES };

const DIRECT_PIXELS = 1920 * 1088; // larger images run in tiles
const TILE_SIDE = 768; // LR pixels, halo included
const TRIAL_SIZE = { width: 320, height: 180 };
const ATTEMPTS = 3; // times that an engine is created for one frame before it is given up

export class Enhancer extends EventTarget {
  #ranking; // trials of usable engines; the first is in use
  #engine = null;
  #size = "";
  #gone = ""; // why the engine in use is lost
  #interrupt = null;
  #turn = Promise.resolve();

  static async load(url, { engine = "auto", signal } = {}) {
    const known = ["auto", ...ENGINES];
    if (!known.includes(engine)) throw new Error(`engine "${engine}": take ${known.join(", ")}.`);
    const model = await loadModel(url);
    const asked = engine === "auto" ? null : await tryEngine(engine, model, TRIAL_SIZE);
    signal?.throwIfAborted();
    if (asked && !asked.reason) return new Enhancer(model, [asked], []);
    const others = ENGINES.filter((name) => name !== engine);
    const { usable, refused } = await rankEngines(model, TRIAL_SIZE, others);
    signal?.throwIfAborted();
    if (asked) refused.unshift(asked);
    if (!usable.length) {
      const reasons = refused.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
      throw new Error(`No engine works in this browser. ${reasons}`);
    }
    return new Enhancer(model, usable, refused);
  }

  constructor(model, ranking, refused) {
    super();
    this.model = model;
    this.refused = refused;
    this.timings = {};
    this.#ranking = ranking;
  }

  get scale() {
    return this.model.scale;
  }

  get engine() {
    return this.#ranking[0].name;
  }

  get description() {
    return this.#ranking[0].description;
  }

  /** Draws `source`, enlarged by `scale`, into `canvas`. Calls wait for each other. */
  process(source, canvas, { progress, signal } = {}) {
    const work = () => this.#process(source, canvas, progress, signal);
    return (this.#turn = this.#turn.then(work, work));
  }

  /** A track that shows `track` enhanced; newest frame wins. It ends with `track`. */
  processTrack(track) {
    return processTrack(this, track);
  }

  dispose() {
    const release = () => this.#release();
    this.#turn = this.#turn.then(release, release);
  }

  async #process(source, canvas, progress, signal) {
    signal?.throwIfAborted();
    const size = sizeOf(source);
    if (!(size.width && size.height)) throw new Error("The image or frame is empty.");
    if (source === canvas) throw new Error("The source cannot be its own canvas: give another.");
    const { scale } = this;
    requireDrawable(size, scale);
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("The canvas has a context of another kind than 2d.");
    if (canvas.width !== size.width * scale || canvas.height !== size.height * scale) {
      canvas.width = size.width * scale;
      canvas.height = size.height * scale;
    }
    if (size.width * size.height > DIRECT_PIXELS) {
      return this.#inTiles(source, size, context, progress, signal);
    }
    const engine = await this.#run(source, size);
    signal?.throwIfAborted();
    const start = performance.now();
    context.drawImage(engine.canvas, 0, 0);
    const draw = performance.now() - start;
    this.timings = { ...engine.timings, draw, total: engine.timings.total + draw };
  }

  async #inTiles(source, size, context, progress, signal) {
    const { scale } = this;
    const plan = planTiles(this.model, size, TILE_SIDE);
    for (const [index, tile] of plan.tiles.entries()) {
      const { left, top, right, bottom } = tile;
      const piece = await createImageBitmap(source, tile.x, tile.y, plan.width, plan.height);
      const engine = await this.#run(piece, plan);
      piece.close();
      signal?.throwIfAborted();
      const place = [left * scale, top * scale, (right - left) * scale, (bottom - top) * scale];
      const [x, y, ...extent] = place;
      context.drawImage(
        engine.canvas, x - tile.x * scale, y - tile.y * scale, ...extent, ...place,
      );
      progress?.((index + 1) / plan.tiles.length);
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
    }
  }

  /** Runs one frame; a lost device gets a new engine, and one that cannot be had again the next. */
  async #run(source, size) {
    let reason = this.#gone;
    for (let attempt = 0; this.#ranking.length; attempt++) {
      try {
        const engine = await this.#engineFor(size);
        await new Promise((resolve, reject) => {
          this.#interrupt = reject;
          if (this.#gone) reject(new Error(this.#gone));
          engine.process(source).then(resolve, reject);
        });
        if (!this.#gone) {
          if (reason) this.#tell(reason);
          return engine;
        }
      } catch (error) {
        if (this.#engine && !this.#gone) throw error; // the frame's fault
        reason = error.message;
      } finally {
        this.#interrupt = null;
      }
      reason = this.#gone || reason;
      this.#release();
      if (attempt + 1 === ATTEMPTS) {
        attempt = -1;
        await this.#next(reason);
      }
    }
    throw new Error(`No engine works any more: ${reason}`);
  }

  async #engineFor({ width, height }) {
    const size = `${width}x${height}`;
    if (this.#engine && this.#size === size && !this.#gone) return this.#engine;
    this.#release();
    const engine = await createEngine(this.engine, this.model, { width, height });
    engine.lost.then((reason) => {
      if (engine !== this.#engine) return;
      this.#gone = reason;
      this.#interrupt?.(new Error(reason));
    });
    [this.#engine, this.#size, this.#gone] = [engine, size, ""];
    return engine;
  }

  /** Gives the engine in use up for the next best, tried now if it has not been. */
  async #next(reason) {
    const { name } = this.#ranking.shift();
    this.refused.push({ name, reason });
    if (this.#ranking.length) return;
    const tried = this.refused.map((other) => other.name);
    const left = ENGINES.filter((other) => !tried.includes(other));
    const { usable, refused } = await rankEngines(this.model, TRIAL_SIZE, left);
    this.#ranking = usable;
    this.refused.push(...refused);
  }

  #release() {
    const engine = this.#engine;
    [this.#engine, this.#size, this.#gone] = [null, "", ""];
    engine?.dispose();
  }

  #tell(reason) {
    const detail = { engine: this.engine, reason };
    this.dispatchEvent(new CustomEvent("recovered", { detail }));
  }
}

/** Width and height in pixels of anything that a canvas draws. */
export function sizeOf(source) {
  const width = source.displayWidth ?? source.videoWidth ?? source.naturalWidth ?? source.width;
  const height =
    source.displayHeight ?? source.videoHeight ?? source.naturalHeight ?? source.height;
  return { width, height };
}
