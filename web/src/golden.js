/** Whether an engine computes here what torch computed when the student was exported. */

/** @param {import("./model.js").Pixels} pixels @returns {ImageData} opaque */
export function imageDataOf({ width, height, data }) {
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
    image.data.set([data[from], data[from + 1], data[from + 2], 255], to);
  }
  return image;
}

/**
 * Run the golden frame through an engine made by `create`, which is disposed of.
 * @returns {Promise<number>} the largest difference from torch, in levels of 0 to 255; at most 1
 *   where all is well
 */
export async function goldenDifference(create, model) {
  const { lr, sr } = model.golden;
  const engine = await create(model, { width: lr.width, height: lr.height });
  try {
    await engine.process(imageDataOf(lr));
    return largestDifference(await engine.read(), sr);
  } finally {
    engine.dispose();
  }
}

function largestDifference(image, { width, height, data }) {
  if (image.width !== width || image.height !== height) return 255;
  let worst = 0;
  for (let i = 0, j = 0; j < data.length; i += 4, j += 3) {
    for (let c = 0; c < 3; c++) worst = Math.max(worst, Math.abs(image.data[i + c] - data[j + c]));
  }
  return worst;
}
