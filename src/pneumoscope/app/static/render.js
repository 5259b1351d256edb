/** Rendering of radiographs with window and level, and of maps as colored overlays. */
import { decodeBytes } from "./api.js";

const MAX_SIDE = 2560;
// Stops of matplotlib's inferno (CC0), as in the report: perceptually uniform, also for color-blind readers.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50],
  [252, 255, 164],
];

/**
 * Gray levels of one radiograph.
 *
 * @typedef {object} Radiograph
 * @property {number} width in pixels, 2,560 at most.
 * @property {number} height
 * @property {Uint8Array | Uint16Array} codes row by row, 0 = black.
 * @property {number} white the largest code: 255 or 65535.
 * @property {number[]} size width and height of the image before it was scaled down.
 */

/**
 * Decode an image as the server does: with EXIF orientation, and color converted to luma (ITU-R BT.601).
 *
 * @param {Blob | string} source JPEG or PNG as a file or a base64 data: URL.
 * @param {boolean} packed whether red and green are the high and low byte of 16 bits.
 * @returns {Promise<Radiograph>}
 * @throws {Error} if the browser cannot decode it.
 */
export async function decodeRadiograph(source, packed) {
  const blob = typeof source === "string" ? new Blob([decodeBytes(source.split(",", 2)[1])]) : source;
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const size = [bitmap.width, bitmap.height];
  const scale = Math.min(1, MAX_SIDE / Math.max(...size));
  const [width, height] = size.map((side) => Math.max(1, Math.round(side * scale)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const colors = context.getImageData(0, 0, width, height).data;
  const codes = packed ? new Uint16Array(width * height) : new Uint8Array(width * height);
  for (let pixel = 0, at = 0; pixel < codes.length; pixel += 1, at += 4) {
    const [red, green, blue] = [colors[at], colors[at + 1], colors[at + 2]];
    codes[pixel] = packed ? 256 * red + green : (77 * red + 150 * green + 29 * blue) >> 8;
  }
  return { width, height, codes, white: packed ? 65535 : 255, size };
}

/**
 * Draw gray levels with window and level.
 *
 * @param {Radiograph} radiograph
 * @param {{level: number, width: number, inverted: boolean, table: Uint8Array | null}} view the gray level (0 to 255)
 *     shown as middle gray, the span from black to white, whether to swap the two, and the gray level of each code; by
 *     default, gray levels are proportional to codes.
 * @param {OffscreenCanvas} canvas to draw on; it is resized to the radiograph.
 */
export function drawWindowed({ width, height, codes, white }, view, canvas) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const shades = listShades(view, white);
  const pixels = new Uint32Array(image.data.buffer);
  for (let pixel = 0; pixel < pixels.length; pixel += 1) pixels[pixel] = shades[codes[pixel]];
  context.putImageData(image, 0, 0);
}

/** Return the opaque gray of each code, as the four bytes of a pixel. */
function listShades({ level, width, inverted, table }, white) {
  const shades = new Uint32Array(white + 1);
  const bytes = new Uint8ClampedArray(shades.buffer);
  for (let code = 0; code <= white; code += 1) {
    const gray = table ? table[code] : (255 * code) / white;
    const shown = 127.5 + ((gray - level) / width) * 255;
    bytes.fill(inverted ? 255 - shown : shown, 4 * code, 4 * code + 3);
    bytes[4 * code + 3] = 255;
  }
  return shades;
}

/**
 * Upsample a feature map to the grid, linearly between the centers of the receptive fields. Beyond the outermost
 * positions the map falls to 0.
 *
 * @param {Uint8Array} values of the feature map, row by row.
 * @param {{height: number, width: number}} size of the feature map.
 * @param {{rows: Field, columns: Field}} fields `low`, `high` and `step` in pixels of the grid.
 * @param {number} side of the grid: the square model input in pixels.
 * @returns {Float32Array} `side * side` values in [0, 1].
 */
export function upsample(values, { height, width }, { rows, columns }, side) {
  const down = weighPixels(rows, height, side);
  const across = weighPixels(columns, width, side);
  const map = new Float32Array(side * side);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      let sum = 0;
      for (const [row, share] of down[y]) {
        for (const [column, part] of across[x]) sum += share * part * values[row * width + column];
      }
      map[y * side + x] = sum / 255;
    }
  }
  return map;
}

/** Return, for each pixel of the grid, the two adjacent positions of the feature map with their weights. */
function weighPixels({ low, high, step }, length, side) {
  return Array.from({ length: side }, (_, pixel) => {
    const place = (pixel - (low + high) / 2) / step;
    const first = Math.floor(place);
    return [[first, 1 - (place - first)], [first + 1, place - first]]
      .filter(([index, share]) => index >= 0 && index < length && share > 0);
  });
}

/** Return the color `[red, green, blue]` of a value in [0, 1], each channel 0 to 255. */
function colorHeat(value) {
  const place = Math.min(0.15 + 0.85 * value, 1) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[low].map((channel, number) => channel + (place - low) * (INFERNO[low + 1][number] - channel));
}

/**
 * Paint a map. Small values are transparent, so that the radiograph stays visible.
 *
 * @param {Float32Array} values in [0, 1].
 * @param {number} side of the square map.
 * @returns {OffscreenCanvas}
 */
export function paintHeat(values, side) {
  const canvas = new OffscreenCanvas(side, values.length / side);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, pixel) => {
    // Opaque from 0.5; smaller values become transparent.
    image.data.set([...colorHeat(value), 255 * Math.min(1, 2 * value)], 4 * pixel);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Place a map on the part of the radiograph that the models see, inside of uniform bars at its sides.
 *
 * @param {OffscreenCanvas} map
 * @param {number[]} content left, top, right and bottom of this part, as shares of the radiograph.
 * @returns {OffscreenCanvas} of the form of the whole radiograph.
 */
export function placeMap(map, [left, top, right, bottom]) {
  const canvas = new OffscreenCanvas(map.width / (right - left), map.height / (bottom - top));
  const { width, height } = canvas;
  const sides = [(right - left) * width, (bottom - top) * height];
  canvas.getContext("2d").drawImage(map, left * width, top * height, ...sides);
  return canvas;
}

/** Draw the color bar of the overlays on a canvas. */
export function drawScale(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = `rgb(${colorHeat(x / (canvas.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, 1);
  }
}
