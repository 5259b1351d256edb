/** The canvas of the viewer: position, zoom, window and overlay of the radiograph. */
import { followGestures } from "./gestures.js";
import { drawWindowed } from "./render.js";

const MAX_ZOOM = 24;
const GAP = 6;
export const FULL_WINDOW = Object.freeze({ level: 128, width: 255, inverted: false });

/** A canvas with a radiograph; fires `change` at every change of its state. */
export class Viewer extends EventTarget {
  /** @type {import("./render.js").Radiograph | null} */
  radiograph = null;
  /** @type {OffscreenCanvas | null} over the whole radiograph. */
  overlay = null;
  opacity = 0.55;
  sideBySide = false;
  windowMode = false;
  view = { ...FULL_WINDOW };
  zoom = 1;
  center = { x: 0.5, y: 0.5 };
  #canvas;
  #shown = new OffscreenCanvas(1, 1);
  #stale = true;
  #frame = 0;
  #pointer = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.#canvas = canvas;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    followGestures(canvas, {
      move: (dx, dy) => this.moveBy(dx, dy),
      zoom: (factor, x, y) => this.zoomBy(factor, x, y),
      window: (dx, dy) => this.changeWindow({ width: this.view.width + dx, level: this.view.level - dy / 2 }),
      windows: () => this.windowMode,
      point: (x, y) => this.#pointAt(x, y),
      leave: () => this.#pointAt(null),
      wheels: () => Boolean(this.radiograph),
    });
  }

  /** @param {import("./render.js").Radiograph | null} radiograph to show; this resets the zoom and keeps the window. */
  showRadiograph(radiograph) {
    Object.assign(this, { radiograph, overlay: null, zoom: 1, center: { x: 0.5, y: 0.5 } });
    this.#stale = true;
    this.#changed();
  }

  /** @param {Partial<typeof FULL_WINDOW>} change of level, width (in gray levels), or inversion. */
  changeWindow(change) {
    Object.assign(this.view, change);
    this.view.level = Math.min(255, Math.max(0, this.view.level));
    this.view.width = Math.min(510, Math.max(1, this.view.width));
    this.#stale = true;
    this.#changed();
  }

  /** @param {{overlay?: OffscreenCanvas, opacity?: number, sideBySide?: boolean, windowMode?: boolean}} change */
  set(change) {
    Object.assign(this, change);
    this.#changed();
  }

  /** Reset zoom and window. */
  reset() {
    Object.assign(this, { zoom: 1, center: { x: 0.5, y: 0.5 } });
    this.changeWindow(FULL_WINDOW);
  }

  /** Zoom by a factor around a position on the canvas, by default its center. */
  zoomBy(factor, x = null, y = null) {
    if (!this.radiograph) return;
    const pane = x === null ? this.#panes()[0] : this.#paneAt(x, y);
    const [px, py] = x === null ? [pane.x + pane.width / 2, pane.y + pane.height / 2] : [x, y];
    const before = this.#place(pane);
    const [fx, fy] = [(px - before.x) / before.width, (py - before.y) / before.height];
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    const after = this.#place(pane);
    this.center.x += fx - (px - after.x) / after.width;
    this.center.y += fy - (py - after.y) / after.height;
    this.#hold();
    this.#changed();
  }

  /** Pan by CSS pixels. */
  moveBy(dx, dy) {
    if (!this.radiograph) return;
    const { width, height } = this.#place(this.#panes()[0]);
    this.center.x -= dx / width;
    this.center.y -= dy / height;
    this.#hold();
    this.#changed();
  }

  /** Draw in the next frame, once for any number of changes. */
  #changed() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
    this.dispatchEvent(new Event("change"));
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (!clientWidth || !clientHeight) return; // not laid out: printed or hidden
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.#canvas, { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio) });
    if (this.radiograph) this.#hold();
    // Resizing empties the canvas, so it is drawn at once.
    this.#draw();
  }

  #pointAt(x, y) {
    this.#pointer = null;
    if (x !== null && this.radiograph) {
      const pane = this.#paneAt(x, y);
      const place = this.#place(pane);
      const point = { x: (x - place.x) / place.width, y: (y - place.y) / place.height };
      if (point.x >= 0 && point.x < 1 && point.y >= 0 && point.y < 1) this.#pointer = point;
    }
    this.#changed();
  }

  /** The gray level under the pointer, or null. */
  get pointed() {
    if (!this.#pointer || !this.radiograph) return null;
    const { width, height, gray } = this.radiograph;
    return gray[Math.floor(this.#pointer.y * height) * width + Math.floor(this.#pointer.x * width)];
  }

  #panes() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!this.sideBySide) return [{ x: 0, y: 0, width, height }];
    const half = (Math.max(width, height) - GAP) / 2;
    if (width >= height) return [0, half + GAP].map((x) => ({ x, y: 0, width: half, height }));
    return [0, half + GAP].map((y) => ({ x: 0, y, width, height: half }));
  }

  #paneAt(x, y) {
    const panes = this.#panes();
    return panes.find((pane) => x <= pane.x + pane.width && y <= pane.y + pane.height) ?? panes[0];
  }

  /** Return the rectangle of the radiograph, in CSS pixels of the canvas. */
  #place(pane) {
    const fit = Math.min(pane.width / this.radiograph.width, pane.height / this.radiograph.height) * this.zoom;
    const [width, height] = [this.radiograph.width * fit, this.radiograph.height * fit];
    const x = pane.x + pane.width / 2 - this.center.x * width;
    return { x, y: pane.y + pane.height / 2 - this.center.y * height, width, height };
  }

  /** Limit panning: a radiograph larger than the canvas covers it, a smaller one is centered. */
  #hold() {
    const pane = this.#panes()[0];
    const { width, height } = this.#place(pane);
    const bound = (value, length, size) => {
      const reach = Math.max(0, 0.5 - length / size / 2);
      return Math.min(0.5 + reach, Math.max(0.5 - reach, value));
    };
    this.center.x = bound(this.center.x, pane.width, width);
    this.center.y = bound(this.center.y, pane.height, height);
  }

  #draw() {
    const context = this.#canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#canvas.classList.toggle("zoomed", this.zoom > 1 || this.windowMode);
    if (!this.radiograph || !this.#canvas.width) return;
    if (this.#stale) drawWindowed(this.radiograph, this.view, this.#shown);
    this.#stale = false;
    const ratio = this.#canvas.width / this.#canvas.clientWidth;
    context.scale(ratio, ratio);
    context.imageSmoothingQuality = "high";
    this.#panes().forEach((pane, number, { length }) => this.#drawPane(context, pane, number === length - 1));
  }

  #drawPane(context, pane, covered) {
    const { x, y, width, height } = this.#place(pane);
    context.save();
    context.beginPath();
    context.rect(pane.x, pane.y, pane.width, pane.height);
    context.clip();
    context.drawImage(this.#shown, x, y, width, height);
    if (covered && this.overlay) {
      context.globalAlpha = this.opacity;
      context.drawImage(this.overlay, x, y, width, height);
    }
    context.restore();
  }
}
