/** What a canvas can hold. Browsers draw nothing on a larger one, and do not say so. */

const SIDE = 16384; // the longest that the browsers in use all draw
const PIXELS = 1 << 28;

/** An Error where an image of this size, enlarged by `scale`, is too large for a canvas. */
export function requireDrawable({ width, height }, scale) {
  if (Math.max(width, height) * scale > SIDE || width * height * scale ** 2 > PIXELS) {
    throw new Error(`${width} × ${height} is too large for a browser: use kd-enhance.`);
  }
}
