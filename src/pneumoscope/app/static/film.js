/** A film as gray levels, and those as a viewer shows them: window, level, inversion. */

const LONGEST_SIDE = 2560;

/**
 * Gray levels of one film.
 *
 * @typedef {object} Film
 * @property {number} width in pixels, of what is kept.
 * @property {number} height
 * @property {Uint8Array} gray row by row, 0 = black.
 */

/**
 * Decode a picture as the server does: upright by its EXIF note, color weighted to luma (ITU-R BT.601).
 *
 * @param {Blob} blob JPEG or PNG.
 * @returns {Promise<Film>}
 * @throws {Error} if the browser cannot show it.
 */
export async function decodeFilm(blob) {
  const plain = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(blob, plain);
  const shrink = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * shrink));
  const height = Math.max(1, Math.round(bitmap.height * shrink));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { width, height, gray: weighColors(context.getImageData(0, 0, width, height).data) };
}

function weighColors(colors) {
  const gray = new Uint8Array(colors.length / 4);
  for (let pixel = 0, at = 0; pixel < gray.length; pixel += 1, at += 4) {
    gray[pixel] = (77 * colors[at] + 150 * colors[at + 1] + 29 * colors[at + 2]) >> 8;
  }
  return gray;
}

/**
 * Return the film that is behind a data address, without fetching it.
 *
 * @param {string} address `data:image/png;base64,...`
 * @returns {Blob}
 */
export function readDataAddress(address) {
  const [head, text] = address.split(",", 2);
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

/**
 * Draw gray levels through a window.
 *
 * @param {Film} film
 * @param {{level: number, width: number, inverted: boolean}} view the gray level shown as middle gray, the span from
 *     black to white, and whether to swap the two.
 * @param {OffscreenCanvas} canvas to draw on; it takes the size of the film.
 */
export function drawWindowed(film, view, canvas) {
  if (canvas.width !== film.width || canvas.height !== film.height) {
    Object.assign(canvas, { width: film.width, height: film.height });
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(film.width, film.height);
  const shades = mixShades(view);
  const pixels = new Uint32Array(image.data.buffer);
  for (let pixel = 0; pixel < pixels.length; pixel += 1) pixels[pixel] = shades[film.gray[pixel]];
  context.putImageData(image, 0, 0);
}

/** Return 256 opaque grays, each as the four bytes of a pixel. */
function mixShades({ level, width, inverted }) {
  const shades = new Uint32Array(256);
  const bytes = new Uint8ClampedArray(shades.buffer);
  for (let gray = 0; gray < 256; gray += 1) {
    const shown = 127.5 + ((gray - level) / width) * 255;
    bytes.fill(inverted ? 255 - shown : shown, 4 * gray, 4 * gray + 3);
    bytes[4 * gray + 3] = 255;
  }
  return shades;
}
