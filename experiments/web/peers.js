// The ways of experiments/web/peers.py, each from a canvas of 320x180 to a 2d context of 640x360.
const fetched = async (path) => (await fetch(path)).json();
const node = (path) => `/node_modules/${path}`;

function load(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: node(path), onload: resolve, onerror: () => reject(new Error(path)) });
    document.head.append(script);
  });
}

const output = () => Object.assign(document.createElement("canvas"), { width: 640, height: 360 });

export const WAYS = {
  student: async (engine, name) => {
    const { create } = await import(`/src/engines/${engine}.js`);
    const { loadModel } = await import("/src/model.js");
    const model = await loadModel(`/models/${name}.kdw`);
    const running = await create(model, { width: 320, height: 180 });
    return async (source, screen) => {
      await running.process(source);
      screen.drawImage(running.canvas, 0, 0);
    };
  },
  websr: async (network, weights) => {
    await load("@websr/websr/dist/websr.js");
    const gpu = await WebSR.initWebGPU();
    const stated = await fetched(node(`@websr/websr/weights/anime4k/${weights}.json`));
    const canvas = output();
    const resolution = { width: 320, height: 180 };
    const options = { network_name: `anime4k/${network}`, weights: stated, gpu, canvas, resolution };
    const running = new WebSR(options);
    return async (source, screen) => {
      await running.render(await createImageBitmap(source));
      screen.drawImage(canvas, 0, 0);
    };
  },
  // `render` of the package takes a video: the source is dressed as one.
  anime4k: async (pipeline) => {
    await load("anime4k-webgpu/lib/index.js");
    const { render, [pipeline]: Pipeline } = globalThis["anime4k-webgpu"];
    const canvas = output();
    const video = Object.assign(new OffscreenCanvas(320, 180), {
      readyState: 4, HAVE_FUTURE_DATA: 3, videoWidth: 320, videoHeight: 180, paused: false,
      requestVideoFrameCallback: (callback) => (video.next = callback),
    });
    const context = video.getContext("2d");
    context.fillRect(0, 0, 1, 1);
    const pipelineBuilder = (device, inputTexture) => [new Pipeline({ device, inputTexture })];
    await render({ video, canvas, pipelineBuilder });
    return async (source, screen) => {
      context.drawImage(source, 0, 0);
      video.next();
      screen.drawImage(canvas, 0, 0);
    };
  },
  esrgan: async () => {
    await load("@tensorflow/tfjs/dist/tf.min.js");
    await load("@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js");
    tf.wasm.setWasmPaths(node("@tensorflow/tfjs-backend-wasm/dist/"));
    await tf.setBackend("wasm");  // its WebGL takes over 20 s a frame on a processor
    await load("@upscalerjs/default-model/dist/umd/index.min.js");
    await load("@upscalerjs/esrgan-slim/dist/umd/models/esrgan-slim/src/x2/index.min.js");
    await load("upscaler/dist/browser/umd/upscaler.min.js");
    const path = node("@upscalerjs/esrgan-slim/models/x2/model.json");
    const upscaler = new Upscaler({ model: { ...ESRGANSlim2x, path } });
    const canvas = output();
    return async (source, screen) => {
      const pixels = tf.browser.fromPixels(source);
      const result = await upscaler.upscale(pixels, { output: "tensor" });
      const image = tf.tidy(() => result.clipByValue(0, 255).round().toInt());
      await tf.browser.toPixels(image, canvas);
      tf.dispose([pixels, result, image]);
      screen.drawImage(canvas, 0, 0);
    };
  },
};
