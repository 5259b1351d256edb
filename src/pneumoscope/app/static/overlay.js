/** Maps of the models as colored pictures to lay over a film. */

/** Side of the square that the models see; maps are drawn on its grid. */
export const GRID = 128;

// Stops of matplotlib's inferno (CC0), which the report uses too: even to the eye, also for the color-blind.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50],
  [252, 255, 164],
];

/**
 * Draw the cells of a layer up to the grid, linearly between the middles of what the cells see; beyond the outermost
 * cells the map falls to 0.
 *
 * @param {Uint8Array} cells row by row.
 * @param {{height: number, width: number}} size of the layer.
 * @param {{rows: Field, columns: Field}} fields what its cells see: `low`, `high` and `step` in pixels of the grid.
 * @returns {Float32Array} `GRID * GRID` values in [0, 1].
 */
export function drawUp(cells, { height, width }, { rows, columns }) {
  const down = weighPixels(rows, height);
  const across = weighPixels(columns, width);
  const drawn = new Float32Array(GRID * GRID);
  for (let y = 0; y < GRID; y += 1) {
    for (let x = 0; x < GRID; x += 1) {
      let sum = 0;
      for (const [row, share] of down[y]) {
        for (const [column, part] of across[x]) sum += share * part * cells[row * width + column];
      }
      drawn[y * GRID + x] = sum / 255;
    }
  }
  return drawn;
}

/** Return for each pixel of the grid the cells that it lies between, with their weights. */
function weighPixels({ low, high, step }, numCells) {
  return Array.from({ length: GRID }, (_, pixel) => {
    const place = (pixel - (low + high) / 2) / step;
    const first = Math.floor(place);
    return [[first, 1 - (place - first)], [first + 1, place - first]]
      .filter(([cell, share]) => cell >= 0 && cell < numCells && share > 0);
  });
}

/**
 * Return the map of one class in one layer.
 *
 * @param {{shape: number[], rows: Field, columns: Field, data: Uint8Array}} heatmap of the layer, all classes.
 * @param {number} number of the class.
 * @returns {Float32Array} 1 = the strongest that the layer holds for any class.
 */
export function pickHeatmap({ shape: [, height, width], rows, columns, data }, number) {
  const cells = data.subarray(number * height * width, (number + 1) * height * width);
  return drawUp(cells, { height, width }, { rows, columns });
}

/** Return `[red, green, blue]`, each 0 to 255, for a value in [0, 1]. */
export function colorHeat(value) {
  const place = Math.min(Math.max(value, 0), 1) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[low].map((channel, number) => channel + (place - low) * (INFERNO[low + 1][number] - channel));
}

/**
 * Paint a map, the clearer the less there is, so that a film stays legible where nothing was found.
 *
 * @param {Float32Array} values in [0, 1].
 * @param {number} side of the square map.
 * @returns {OffscreenCanvas}
 */
export function paintHeat(values, side = GRID) {
  const canvas = new OffscreenCanvas(side, values.length / side);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, pixel) => {
    // Full strength from half on: the eye reads height by color there, and presence by strength below.
    image.data.set([...colorHeat(0.15 + 0.85 * value), 255 * Math.min(1, 2 * value)], 4 * pixel);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}
