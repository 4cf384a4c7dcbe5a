/** The student by WebGL2 fragment shaders; see web/README.md for the interface. */

import { geometry, inUnits, pack, passesOf, shares } from "../shaders/groups.js";
import { VERTEX, layerShader, outputShader, sourceShader } from "../shaders/glsl.js";
import { canvasOf, requireSize } from "./source.js";

export async function create(model, { width, height, canvas }) {
  return new WebGl2Engine(model, width, height, canvas);
}

class WebGl2Engine {
  name = "webgl2";
  timings = { import: 0, run: 0, total: 0 };
  #disposed = false;
  #passes = [];
  #programs = new Map();

  constructor(model, width, height, canvas) {
    const size = geometry(model, width, height);
    Object.assign(this, { width, height });
    this.size = size;
    this.canvas = canvasOf(canvas, size.outWidth, size.outHeight);
    // What is drawn stays, so that others may draw or encode the canvas at any time.
    const wanted = { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true };
    const gl = this.canvas.getContext("webgl2", { ...wanted, powerPreference: "high-performance" });
    if (!gl) throw new Error("this browser has no WebGL2");
    this.gl = gl;
    if (!gl.getExtension("EXT_color_buffer_float") && !gl.getExtension("EXT_color_buffer_half_float")) {
      throw new Error("this GPU does not draw into half-precision textures");
    }
    const known = gl.getExtension("WEBGL_debug_renderer_info");
    this.description = String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    this.#requireRoom();
    this.lost = new Promise((resolve) => {
      this.canvas.addEventListener("webglcontextlost", () => {
        if (!this.#disposed) resolve("the WebGL context was lost");
      });
    });
    gl.disable(gl.DITHER);
    try {
      this.#build(model);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  async process(source) {
    requireSize(source, this.width, this.height);
    const gl = this.gl;
    const start = performance.now();
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.frame);
    // texImage2D and not texSubImage2D: browsers import video frames on the GPU only here.
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, source);
    const imported = performance.now();
    for (const pass of this.#passes) this.#draw(pass);
    this.#drawOutput(null);
    await this.#finished();
    const end = performance.now();
    this.timings = { import: imported - start, run: end - imported, total: end - start };
  }

  async read() {
    const { gl, size: { outWidth, outHeight } } = this;
    this.copy ??= this.#framebuffer(this.#texture2D(outWidth, outHeight));
    this.#drawOutput(this.copy);
    const image = new ImageData(outWidth, outHeight);
    gl.readPixels(0, 0, outWidth, outHeight, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(image.data.buffer));
    return image;
  }

  dispose() {
    this.#passes = [];
    this.#disposed = true;
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  #build(model) {
    const { gl, size } = this;
    this.frame = this.#texture2D(this.width, this.height);
    let source = this.#maps(size.sourceGroups);
    // What the output is made of besides the detail: what layers read, or the frame.
    this.base = model.takesLr ? [gl.TEXTURE_2D, this.frame] : [gl.TEXTURE_2D_ARRAY, source];
    const limit = Math.min(gl.getParameter(gl.MAX_DRAW_BUFFERS), gl.getParameter(gl.MAX_COLOR_ATTACHMENTS));
    for (const [from, to] of shares(size.sourceGroups, limit)) {
      const program = this.#program(sourceShader(model, from, to), ["frame"]);
      this.#passes.push({ program, source: this.frame, kind: gl.TEXTURE_2D, target: this.#target(source, from, to) });
    }
    const pair = model.layers.length ? [this.#maps(size.hiddenGroups), this.#maps(size.hiddenGroups)] : [];
    for (const [index, layer] of inUnits(model).entries()) {
      const maps = pair[index % 2];
      const passes = passesOf(layer, limit, gl.getParameter(gl.MAX_UNIFORM_BLOCK_SIZE));
      if (!passes.length) throw new Error("this network is too wide for WebGL2 on this GPU");
      for (const [from, to] of passes) {
        this.#passes.push({
          program: this.#program(layerShader(layer, to - from), ["source"]),
          parameters: this.#parameters(pack(layer, from, to)),
          source,
          kind: gl.TEXTURE_2D_ARRAY,
          target: this.#target(maps, from, to),
        });
      }
      source = maps;
    }
    this.detail = source;
    this.output = this.#program(outputShader(model), [model.takesLr ? "frame" : "image", "detail"]);
    this.upsideDown = gl.getUniformLocation(this.output, "height");
    if (gl.getError() !== gl.NO_ERROR) throw new Error("WebGL2 has no memory for frames of this size");
  }

  #draw({ program, parameters, source, kind, target }) {
    const { gl, size } = this;
    gl.useProgram(program);
    gl.bindTexture(kind, source);
    if (parameters) gl.bindBufferBase(gl.UNIFORM_BUFFER, 0, parameters);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    gl.viewport(1, 1, size.blocksWide, size.blocksHigh);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #drawOutput(target) {
    const { gl, size } = this;
    gl.useProgram(this.output);
    gl.bindTexture(...this.base);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.detail);
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1i(this.upsideDown, target ? 0 : size.outHeight);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    gl.viewport(0, 0, size.outWidth, size.outHeight);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  async #finished() {
    const gl = this.gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    while (!gl.isContextLost() && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    gl.deleteSync(fence);
    if (gl.isContextLost()) throw new Error("the WebGL context was lost");
  }

  #program(fragment, textures) {
    if (this.#programs.has(fragment)) return this.#programs.get(fragment);
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(`WebGL2 refuses a shader: ${gl.getProgramInfoLog(program)}`);
    }
    gl.useProgram(program);
    textures.forEach((name, unit) => gl.uniform1i(gl.getUniformLocation(program, name), unit));
    this.#programs.set(fragment, program);
    return program;
  }

  #parameters(values) {
    const gl = this.gl;
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.UNIFORM_BUFFER, buffer);
    gl.bufferData(gl.UNIFORM_BUFFER, values, gl.STATIC_DRAW);
    return buffer;
  }

  #texture2D(width, height) {
    const gl = this.gl;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    this.#nearest(gl.TEXTURE_2D);
    return texture;
  }

  /** Groups of maps of all blocks, all zero, with a border. */
  #maps(groups) {
    const { gl, size } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA16F, size.blocksWide + 2, size.blocksHigh + 2, groups);
    this.#nearest(gl.TEXTURE_2D_ARRAY);
    return texture;
  }

  #nearest(kind) {
    const gl = this.gl;
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(kind, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  #framebuffer(texture) {
    const gl = this.gl;
    const target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    return target;
  }

  /** Draws into groups `from` to `to` (without) of maps. */
  #target(maps, from, to) {
    const gl = this.gl;
    const target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    const places = Array.from({ length: to - from }, (_, n) => gl.COLOR_ATTACHMENT0 + n);
    places.forEach((place, n) => gl.framebufferTextureLayer(gl.FRAMEBUFFER, place, maps, 0, from + n));
    gl.drawBuffers(places);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      throw new Error("this GPU does not draw into half-precision textures");
    }
    return target;
  }

  #requireRoom() {
    const { gl, size } = this;
    const most = gl.getParameter(gl.MAX_TEXTURE_SIZE) - 2;
    if (Math.max(size.outWidth, size.outHeight) > most || gl.drawingBufferWidth !== size.outWidth) {
      throw new Error(`frames of ${this.width}x${this.height} are too large for WebGL2 here`);
    }
  }
}
