/** Names of the engines, in the order in which they are tried. */
export const ENGINES: readonly EngineName[];

export type EngineName = "webgpu" | "webgl2" | "wasm";

export type Source =
  | ImageBitmap
  | ImageData
  | VideoFrame
  | HTMLVideoElement
  | HTMLImageElement
  | HTMLCanvasElement
  | OffscreenCanvas;

export interface Trial {
  name: EngineName;
  /** Why it cannot be used here. */
  reason?: string;
  /** Levels (0 to 255) from torch on the model's golden frame. */
  difference?: number;
  /** Milliseconds of a 320x180 frame; the shortest of several. */
  frameMs?: number;
  /** Milliseconds of creation and the first frame. */
  createMs?: number;
  description?: string;
}

/** Milliseconds of the last frame. */
export interface Timings {
  /** Getting the frame into the engine. */
  import?: number;
  /** The network. */
  run?: number;
  /** Drawing into the canvas. */
  draw?: number;
  total?: number;
}

export interface Model {
  readonly name: string;
  readonly scale: number;
  readonly degradation: string | null;
  readonly parameters: number;
}

/**
 * A student, and the engine that runs it. Dispatches `recovered` (a CustomEvent with
 * `detail: {engine, reason}`) when it lost its device and went on with a new one.
 */
export class Enhancer extends EventTarget {
  /**
   * @param url of a file that `kd-export NAME -o FOLDER/` wrote
   * @param options.engine "auto": the fastest whose output on the golden frame is right. Any other
   *   is tried first, and the rest where it cannot be used.
   * @throws Error no engine works here, the file cannot be had, or no engine has that name;
   *   AbortError by `signal`
   */
  static load(
    url: string | URL,
    options?: { engine?: "auto" | EngineName; signal?: AbortSignal },
  ): Promise<Enhancer>;

  readonly model: Model;
  /** Output pixels per input pixel. */
  readonly scale: number;
  readonly engine: EngineName;
  /** Of the engine, for people. */
  readonly description: string;
  /** Engines that cannot be used here. */
  readonly refused: readonly Trial[];
  readonly timings: Timings;

  /**
   * Draws `source`, `scale` times larger, into `canvas`, which gets that size. Its context must be
   * of the kind 2d, or not yet chosen. Images beyond 1920x1088 run in tiles, which changes nothing.
   * @param options.progress is told the share (0 to 1) that is done of an image in tiles
   * @param options.signal once it is aborted nothing more is drawn
   * @throws Error `source` is empty or `canvas` itself, or the result has a side of more than 16384
   *   pixels, or more than 2^28 of them, which browsers do not draw; AbortError by `signal`
   */
  process(
    source: Source,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    options?: { progress?: (share: number) => void; signal?: AbortSignal },
  ): Promise<void>;

  /** `track`, enhanced: the newest frame wins, late ones are left out. */
  processTrack(track: MediaStreamTrack): MediaStreamTrack;

  /** Frees the engine once the work under way is done; a later `process` creates it again. */
  dispose(): void;
}

/** Width and height in pixels of any source. */
export function sizeOf(source: Source): { width: number; height: number };
