/** A large image in tiles that share one engine; exact, as their halo is the receptive field. */

const INTERPOLATION_RADIUS = 2; // pixels of the LR image

/**
 * @param {{radius: number, scale: number, takesLr: boolean, factor: number}} model
 * @param {{width: number, height: number}} size of the LR image
 * @param {number} side most LR pixels of a tile's side, halo included
 * @returns {{width: number, height: number, tiles: {x: number, y: number, left: number, top: number,
 *   right: number, bottom: number}[]}} the size of all tiles; each one's origin, and the part of the
 *   image, in LR pixels, that is taken from it
 */
export function planTiles(model, size, side) {
  const { radius, scale, factor } = model;
  const halo = model.takesLr ? radius : Math.ceil(radius / scale) + INTERPOLATION_RADIUS;
  const step = factor / greatestCommonDivisor(factor, scale);
  const columns = axis(size.width, side, halo, step);
  const rows = axis(size.height, side, halo, step);
  const tiles = rows.parts.flatMap((row) =>
    columns.parts.map((column) => ({
      x: column.origin, left: column.from, right: column.to,
      y: row.origin, top: row.from, bottom: row.to,
    })),
  );
  return { width: columns.length, height: rows.length, tiles };
}

/** Blocks of the unshuffled image must start where the whole image's do: every `step` pixels. */
function axis(total, side, halo, step) {
  if (total <= side) return { length: total, parts: [{ origin: 0, from: 0, to: total }] };
  const length = side - modulo(side - total, step);
  const parts = [];
  for (let from = 0; from < total; ) {
    const wanted = Math.max(0, Math.floor((from - halo) / step) * step);
    const origin = Math.min(wanted, total - length);
    const to = origin + length === total ? total : origin + length - halo;
    parts.push({ origin, from, to });
    from = to;
  }
  return { length, parts };
}

const modulo = (a, b) => ((a % b) + b) % b;
const greatestCommonDivisor = (a, b) => (b ? greatestCommonDivisor(b, a % b) : a);
