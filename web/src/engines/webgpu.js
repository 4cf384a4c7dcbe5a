/** The student by WebGPU compute shaders; see web/README.md for the interface. */

import { geometry, groupsOf, inUnits, pack, planes, rowsOf } from "../shaders/groups.js";
import { WORKGROUP, layerShader, outputShader, sourceShader } from "../shaders/wgsl.js";
import { canvasOf, requireSize } from "./source.js";

export async function create(model, { width, height, canvas }) {
  const adapter = await globalThis.navigator?.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("this browser has no WebGPU");
  const blocks = geometry(model, width, height);
  const size = { ...blocks, ...planes(model, blocks) };
  const largest = 8 * size.plane * Math.max(size.imageGroups, size.hiddenGroups);
  const { maxTextureDimension2D, maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  if (Math.max(size.outWidth, size.outHeight) > maxTextureDimension2D
      || largest > Math.min(maxStorageBufferBindingSize, maxBufferSize)) {
    throw new Error(`frames of ${width}x${height} are too large for WebGPU here`);
  }
  const device = await adapter.requestDevice({
    requiredLimits: { maxTextureDimension2D, maxStorageBufferBindingSize, maxBufferSize },
  });
  const engine = new WebGpuEngine(device, size, width, height);
  try {
    await engine.build(model, canvas);
  } catch (error) {
    engine.dispose();
    throw error;
  }
  const { vendor, architecture, description } = adapter.info ?? {};
  engine.description = description || [vendor, architecture].filter(Boolean).join(" ");
  return engine;
}

class WebGpuEngine {
  name = "webgpu";
  timings = { import: 0, run: 0, total: 0 };
  #disposed = false;
  #passes = [];
  #pipelines = new Map();

  constructor(device, size, width, height) {
    Object.assign(this, { device, size, width, height });
    this.lost = new Promise((resolve) => {
      device.lost.then(({ message }) => {
        if (!this.#disposed) resolve(`the GPU was lost: ${message}`);
      });
    });
  }

  async build(model, canvas) {
    const { device, size } = this;
    device.pushErrorScope("validation");
    device.pushErrorScope("out-of-memory");
    this.frame = device.createTexture({
      size: [this.width, this.height],
      format: "rgba8unorm",
      usage: GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.COPY_DST | GPUTextureUsage.RENDER_ATTACHMENT,
    });
    const numbers = [size.blocksWide, size.blocksHigh, this.width, this.height, size.stride, size.plane];
    this.numbers = this.#buffer(new Uint32Array([...numbers, 0, 0]), GPUBufferUsage.UNIFORM);
    const frame = this.frame.createView();
    let source = this.#maps(size.sourceGroups);
    const base = model.takesLr ? frame : source; // of the output, besides the detail
    const building = [this.#compute(sourceShader(model), 1, [frame, source])];
    const pair = model.layers.length ? [this.#maps(size.hiddenGroups), this.#maps(size.hiddenGroups)] : [];
    for (const [index, layer] of inUnits(model).entries()) {
      const values = pack(layer, 0, groupsOf(layer.out));
      const uniform = values.byteLength <= device.limits.maxUniformBufferBindingSize;
      const usage = uniform ? GPUBufferUsage.UNIFORM : GPUBufferUsage.STORAGE;
      const bound = [this.#buffer(values, usage), source, pair[index % 2]];
      building.push(this.#compute(layerShader(layer, uniform), rowsOf(layer), bound));
      source = pair[index % 2];
    }
    this.maps = model.layers.length ? [base, source] : [base];
    this.canvas = canvasOf(canvas, size.outWidth, size.outHeight);
    this.context = this.canvas.getContext("webgpu");
    if (!this.context) throw new Error("this canvas has no WebGPU context");
    const format = navigator.gpu.getPreferredCanvasFormat();
    this.context.configure({ device, format, alphaMode: "opaque" });
    this.outputCode = outputShader(model);
    this.output = await this.#render(format);
    this.#passes = await Promise.all(building);
    for (const error of [await device.popErrorScope(), await device.popErrorScope()]) {
      if (error) throw new Error(`WebGPU refuses: ${error.message}`);
    }
  }

  async process(source) {
    requireSize(source, this.width, this.height);
    const { device, size } = this;
    const start = performance.now();
    // Into RGB in 8 bits on the GPU, as any canvas would show the frame. importExternalTexture would
    // save that, but its RGB is not rounded, and it needs a bind group of its own for each frame.
    device.queue.copyExternalImageToTexture({ source }, { texture: this.frame }, [this.width, this.height]);
    const imported = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { pipeline, group, rows } of this.#passes) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(
        Math.ceil(size.blocksWide / WORKGROUP[0]),
        Math.ceil(size.blocksHigh / rows / WORKGROUP[1]),
      );
    }
    pass.end();
    this.#draw(encoder, this.output, this.context.getCurrentTexture());
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    const end = performance.now();
    this.timings = { import: imported - start, run: end - imported, total: end - start };
  }

  async read() {
    const { device, size: { outWidth, outHeight } } = this;
    const pitch = Math.ceil((4 * outWidth) / 256) * 256;
    this.copy ??= {
      ...(await this.#render("rgba8unorm")),
      texture: device.createTexture({
        size: [outWidth, outHeight],
        format: "rgba8unorm",
        usage: GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.COPY_SRC,
      }),
      buffer: device.createBuffer({
        size: pitch * outHeight,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }),
    };
    const { texture, buffer } = this.copy;
    const encoder = device.createCommandEncoder();
    this.#draw(encoder, this.copy, texture);
    encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow: pitch }, [outWidth, outHeight]);
    device.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ);
    const image = new ImageData(outWidth, outHeight);
    const bytes = new Uint8Array(buffer.getMappedRange());
    for (let y = 0; y < outHeight; y++) {
      image.data.set(bytes.subarray(y * pitch, y * pitch + 4 * outWidth), 4 * y * outWidth);
    }
    buffer.unmap();
    return image;
  }

  dispose() {
    this.#disposed = true;
    this.context?.unconfigure();
    this.device.destroy();
  }

  #draw(encoder, { pipeline, group }, texture) {
    const pass = encoder.beginRenderPass({
      colorAttachments: [{ view: texture.createView(), loadOp: "clear", storeOp: "store" }],
    });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.draw(3);
    pass.end();
  }

  async #compute(code, rows, bound) {
    if (!this.#pipelines.has(code)) {
      const module = this.device.createShaderModule({ code });
      const compute = { module, entryPoint: "main" };
      this.#pipelines.set(code, this.device.createComputePipelineAsync({ layout: "auto", compute }));
    }
    const pipeline = await this.#pipelines.get(code);
    return { pipeline, rows, group: this.#group(pipeline, bound) };
  }

  async #render(format) {
    const module = this.device.createShaderModule({ code: this.outputCode });
    const pipeline = await this.device.createRenderPipelineAsync({
      layout: "auto",
      vertex: { module, entryPoint: "corner" },
      fragment: { module, entryPoint: "color", targets: [{ format }] },
    });
    return { pipeline, group: this.#group(pipeline, this.maps) };
  }

  #group(pipeline, bound) {
    const resources = [this.numbers, ...bound].map((item) => (item instanceof GPUBuffer ? { buffer: item } : item));
    return this.device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: resources.map((resource, binding) => ({ binding, resource })),
    });
  }

  #buffer(values, usage) {
    const buffer = this.device.createBuffer({ size: values.byteLength, usage, mappedAtCreation: true });
    new values.constructor(buffer.getMappedRange()).set(values);
    buffer.unmap();
    return buffer;
  }

  #maps(groups) {
    return this.device.createBuffer({ size: 8 * this.size.plane * groups, usage: GPUBufferUsage.STORAGE });
  }
}
