/**
 * Pillow's bicubic kernel (Keys 1981, a = -0.5) for enlarging by a whole number, as
 * kd_lightning/models/interpolate.py has it. Columns and rows are alike.
 *
 * @param {number} scale output pixels per input pixel
 * @returns {{first: number, taps: number[]}[]} for each phase p in 0..scale-1: output pixel
 *   i*scale + p is the sum over k in 0..3 of taps[k] times input pixel i + first + k. At the border
 *   the taps outside the frame are left out and the sum is divided by the sum of the others.
 */
export function phases(scale) {
  return Array.from({ length: scale }, (_, phase) => {
    const centre = (phase + 0.5) / scale;
    const first = Math.floor(centre - 1.5);
    const raw = [0, 1, 2, 3].map((k) => keys(first + k + 0.5 - centre));
    const sum = raw.reduce((total, tap) => total + tap);
    return { first, taps: raw.map((tap) => tap / sum) };
  });
}

function keys(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}
