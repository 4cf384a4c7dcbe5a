/** What is common to the sources that `process` takes. */

/** An Error where `source` is not width x height pixels. */
export function requireSize(source, width, height) {
  const [wide, high] = sizeOf(source);
  if (wide !== width || high !== height) {
    throw new Error(`a frame of ${wide}x${high} pixels in an engine for ${width}x${height}`);
  }
}

function sizeOf(source) {
  if (typeof VideoFrame !== "undefined" && source instanceof VideoFrame) {
    return [source.displayWidth, source.displayHeight];
  }
  if (typeof HTMLVideoElement !== "undefined" && source instanceof HTMLVideoElement) {
    return [source.videoWidth, source.videoHeight];
  }
  if (typeof HTMLImageElement !== "undefined" && source instanceof HTMLImageElement) {
    return [source.naturalWidth, source.naturalHeight];
  }
  return [source.width, source.height];
}

/** The canvas that an engine draws into, at the size of its output. */
export function canvasOf(canvas, width, height) {
  if (!canvas) return new OffscreenCanvas(width, height);
  canvas.width = width;
  canvas.height = height;
  return canvas;
}
