// A heat map of some cells as a coloured, half-transparent canvas.

const SIZE = 192;
const FEWEST = 5; // cells a side; a cloud drawn of fewer would show what nobody measured
// Amber to crimson, by value; the lowest are clear so that the X-ray stays readable.
const RAMP = [
  [0.0, 255, 214, 102, 0],
  [0.25, 255, 190, 70, 0.25],
  [0.5, 250, 130, 49, 0.7],
  [0.75, 226, 62, 74, 0.9],
  [1.0, 178, 24, 98, 1],
];

/** A square canvas to be laid over what the model sees, or null for a map of zeros.
 * @param {number[][]} rows values from 0 to 1
 */
export function paintHeat(rows) {
  const values = Math.min(rows.length, rows[0].length) < FEWEST ? blocks(rows) : smooth(rows);
  const greatest = Math.max(...values);
  if (!(greatest > 0)) return null;
  const image = new ImageData(SIZE, SIZE);
  values.forEach((value, i) => image.data.set(colour(value / greatest), 4 * i));
  const canvas = new OffscreenCanvas(SIZE, SIZE);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Each cell as it is. */
function blocks(rows) {
  return Float32Array.from({ length: SIZE * SIZE }, (_, i) => {
    const row = rows[Math.floor((Math.floor(i / SIZE) / SIZE) * rows.length)];
    return row[Math.floor(((i % SIZE) / SIZE) * row.length)];
  });
}

/** Cubic B-spline between the centres of the cells: no edges where none are. */
function smooth(rows) {
  const across = weights(rows[0].length);
  const down = weights(rows.length);
  const values = new Float32Array(SIZE * SIZE);
  for (let y = 0; y < SIZE; y++) {
    for (let x = 0; x < SIZE; x++) {
      let sum = 0;
      for (const [row, a] of down[y]) {
        for (const [column, b] of across[x]) sum += a * b * rows[row][column];
      }
      values[y * SIZE + x] = sum;
    }
  }
  return values;
}

function weights(cells) {
  return Array.from({ length: SIZE }, (_, pixel) => {
    const place = ((pixel + 0.5) / SIZE) * cells - 0.5;
    const first = Math.floor(place);
    const t = place - first;
    const spline = [(1 - t) ** 3, 3 * t ** 3 - 6 * t ** 2 + 4, 0, t ** 3];
    spline[2] = 6 - spline[0] - spline[1] - spline[3];
    const inside = (cell) => Math.min(cells - 1, Math.max(0, cell));
    return spline.map((weight, i) => [inside(first - 1 + i), weight / 6]);
  });
}

function colour(value) {
  const above = Math.max(1, RAMP.findIndex(([stop]) => stop >= value));
  const [low, high] = [RAMP[above - 1], RAMP[above]];
  const share = (value - low[0]) / (high[0] - low[0]);
  const mixed = low.map((part, i) => part + share * (high[i] - part));
  return [mixed[1], mixed[2], mixed[3], 255 * mixed[4]];
}
