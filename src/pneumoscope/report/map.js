/**
 * A map of embeddings: point at images, zoom, select with a loop, search by name.
 *
 * The app imports this module. The report of a study contains it inline, and each `.interactive-map` holds its points
 * as JSON.
 */
const [MARGIN, REACH, MAX_ZOOM, MOST_LISTED] = [36, 14, 40, 100];
const PROBE = document.createElement("canvas").getContext("2d"); // tests which points lie inside a loop
const PLUS = [[1, 0.35], [0.35, 0.35], [0.35, 1]];
/** Corners of the shapes in a square from -1 to 1, by the name that matplotlib gives the marker. */
export const SHAPES = {
  o: polygon(16), "^": polygon(3), s: polygon(4), v: polygon(3, 0.5), D: polygon(4, 0.125), h: polygon(6), p: polygon(5),
  P: [0, 1, 2, 3].flatMap((turn) => PLUS.map((corner) => rotate(corner, turn / 4))),
  X: [0, 1, 2, 3].flatMap((turn) => PLUS.map((corner) => rotate(corner, turn / 4 + 0.125))),
};
SHAPES.x = SHAPES.X; // class unknown
const UNKNOWN = "class unknown";
const MARK_SIDE = 28; // of a shape in the legend, in pixels; the style sheet shows it in half the size

/** A scatter plot on a canvas, and the lists next to it. */
export class PointMap {
  #parts;
  #hint;
  #points = { classes: [], names: [], labels: [] };
  #thumbnails = null;
  #scaled = [];
  #scale = null;
  #hidden = new Set();
  #subject = { position: null, neighbors: [], others: [] };
  #zoom = 1;
  #center = [0.5, 0.5];
  #chosen = []; // the image that is described, and its neighbors
  #loop = null;
  #frame = 0;
  #onLoop;

  /**
   * @param {HTMLElement} root contains `.map-canvas`, `.map-hint`, `.map-list` and `.map-filters`. Optional:
   *   `.map-card`, `.map-search`, `.map-loop` and buttons with `data-map`. Without `.map-loop` every drag draws a loop.
   * @param {object} [options] `follow` attaches gestures (see `gestures.js`); `onLoop` gets a test of coordinates, or null.
   */
  constructor(root, { follow = followPointer, onLoop = () => {} } = {}) {
    this.#onLoop = onLoop;
    const names = ["canvas", "hint", "list", "card", "search", "filters", "loop"];
    this.#parts = Object.fromEntries(names.map((name) => [name, root.querySelector(`.map-${name}`)]));
    this.#hint = this.#parts.hint.textContent;
    const { canvas, search, loop } = this.#parts;
    follow(canvas, {
      move: (dx, dy) => this.#move(dx, dy),
      zoom: (factor, x, y) => this.#zoomAt(factor, x, y),
      point: (x, y) => this.#choose(this.#findNear(x, y)),
      leave: () => this.#choose(undefined),
      window: (_dx, _dy, x, y) => this.#extendLoop(x, y),
      windows: () => loop?.ariaPressed !== "false",
      // The wheel scrolls the page until the map has the focus.
      wheels: () => document.activeElement === canvas,
    });
    canvas.addEventListener("pointerdown", () => this.#clearLoop());
    search?.addEventListener("input", () => this.#search(search.value.toLowerCase()));
    this.#followControls(root, canvas);
    new ResizeObserver(() => this.#draw()).observe(canvas);
    document.addEventListener("themechange", () => this.#redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
  }

  #followControls(root, canvas) {
    const acts = {
      ArrowLeft: () => this.#move(40, 0), ArrowRight: () => this.#move(-40, 0),
      ArrowUp: () => this.#move(0, 40), ArrowDown: () => this.#move(0, -40),
      "+": () => this.#zoomAt(1.6), "=": () => this.#zoomAt(1.6), "-": () => this.#zoomAt(1 / 1.6),
      0: () => this.#zoomAt(0), find: () => this.#subject.position && this.#showAt(6, this.#subject.position),
      loop: () => {
        this.#parts.loop.ariaPressed = String(this.#parts.loop.ariaPressed !== "true");
        this.#clearLoop();
      },
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in acts)) return;
      acts[event.key]();
      event.preventDefault();
      event.stopPropagation();
    });
    for (const button of root.querySelectorAll("[data-map]")) button.addEventListener("click", acts[button.dataset.map]);
  }

  /**
   * Show the points of a map.
   *
   * @param {object} points `classes`, `styles` ([color, shape] of each class); for each image `names`, `labels` (class
   *   name, or null if unknown) and `coordinates` ([x, y], y upwards). The report adds for each image `emphasized`,
   *   `nearest` and `thumbnails` (a number, or null).
   * @param {object} [thumbnails] one image with all thumbnails: `address`, `side` in pixels, number `across`.
   */
  offer(points, thumbnails = null) {
    this.#points = points;
    this.#thumbnails = thumbnails;
    this.#scalePoints(points.coordinates);
    const unlabeled = points.labels.includes(null) ? [null] : [];
    this.#parts.filters.append(...[...points.classes, ...unlabeled].map((name) => this.#makeFilter(name)));
    this.#redraw();
  }

  /** Mark an image that is not one of the points by its coordinates, its neighbors by their numbers, and other images. */
  show(position, neighbors, others = []) {
    if (!this.#scale) return; // no points yet
    this.#subject = { position: position && this.#scale(position), neighbors, others: others.map(this.#scale) };
    this.#redraw();
  }

  /** Scale coordinates into the unit square, with the same scale on both axes. */
  #scalePoints(coordinates) {
    const axes = [0, 1].map((axis) => coordinates.map((point) => point[axis]));
    const lows = axes.map((values) => values.reduce((a, b) => Math.min(a, b)));
    const highs = axes.map((values) => values.reduce((a, b) => Math.max(a, b)));
    const span = Math.max(highs[0] - lows[0], highs[1] - lows[1]) || 1;
    const [x0, y0] = highs.map((high, axis) => (high + lows[axis]) / 2);
    this.#scale = ([x, y]) => [0.5 + (x - x0) / span, 0.5 - (y - y0) / span];
    this.#scaled = coordinates.map(this.#scale);
  }

  /** Return the side of the unit square in CSS pixels. */
  #size() {
    const { clientWidth, clientHeight } = this.#parts.canvas;
    return Math.max(1, Math.min(clientWidth, clientHeight) - 2 * MARGIN) * this.#zoom;
  }

  /** Return the positions of points of the unit square on the canvas, in CSS pixels. */
  #project(points) {
    const { clientWidth, clientHeight } = this.#parts.canvas;
    const [size, [x0, y0]] = [this.#size(), this.#center];
    return points.map(([x, y]) => [clientWidth / 2 + (x - x0) * size, clientHeight / 2 + (y - y0) * size]);
  }

  #showAt(zoom, center) {
    if (this.#loop) this.#clearLoop(); // the loop has canvas coordinates, not map coordinates
    this.#zoom = zoom;
    this.#center = center.map((value) => Math.min(1, Math.max(0, value)));
    this.#parts.canvas.classList.toggle("zoomed", zoom > 1);
    this.#redraw();
  }

  #move(dx, dy) {
    const size = this.#size();
    this.#showAt(this.#zoom, [this.#center[0] - dx / size, this.#center[1] - dy / size]);
  }

  /** Zoom around a position in CSS pixels, by default the center. */
  #zoomAt(factor, x = this.#parts.canvas.clientWidth / 2, y = this.#parts.canvas.clientHeight / 2) {
    const { clientWidth, clientHeight } = this.#parts.canvas;
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.#zoom * factor));
    const shift = (1 - this.#zoom / zoom) / this.#size();
    const center = [this.#center[0] + (x - clientWidth / 2) * shift, this.#center[1] + (y - clientHeight / 2) * shift];
    this.#showAt(zoom, zoom === 1 ? [0.5, 0.5] : center);
  }

  #findNear(x, y) {
    let [nearest, best] = [undefined, REACH ** 2];
    this.#project(this.#scaled).forEach(([px, py], number) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best && !this.#hidden.has(this.#points.labels[number])) [nearest, best] = [number, distance];
    });
    return nearest;
  }

  /** Describe an image and its neighbors on the card; without a card, describe the image in the hint. */
  #choose(number) {
    if (number === this.#chosen[0]) return;
    this.#chosen = number === undefined ? [] : [number, ...(this.#points.nearest?.[number] ?? [])];
    const { card, hint } = this.#parts;
    if (card) card.replaceChildren(...this.#chosen.map((one, place) => this.#makeEntry(one, place)));
    else hint.textContent = number === undefined ? this.#hint : this.#describe(number);
    this.#redraw();
  }

  #describe(number) {
    return `${this.#points.names[number]}, ${this.#points.labels[number] ?? UNKNOWN}`;
  }

  #makeEntry(number, place) {
    const { address, side, across } = this.#thumbnails ?? {};
    const index = this.#points.thumbnails?.[number] ?? null;
    const thumbnail = make("span", { className: "map-thumbnail" });
    if (address && index !== null) {
      const background = `url(${address}) -${side * (index % across)}px -${side * Math.floor(index / across)}px`;
      Object.assign(thumbnail.style, { background, width: `${side}px`, height: `${side}px` });
    }
    return make("p", {}, thumbnail, `${place ? "neighbor: " : ""}${this.#describe(number)}`);
  }

  #makeFilter(name) {
    const box = make("input", { type: "checkbox", checked: true });
    box.style.accentColor = this.#readStyle(name)[0];
    box.addEventListener("change", () => {
      this.#hidden[box.checked ? "delete" : "add"](name);
      this.#redraw();
    });
    return make("label", { className: "small" }, box, this.#makeMark(name), name ?? UNKNOWN);
  }

  /** Return the shape of a class in its color, as on the map. */
  #makeMark(name) {
    const mark = make("canvas", { className: "map-mark", width: MARK_SIDE, height: MARK_SIDE });
    const context = mark.getContext("2d");
    const [color, shape] = this.#readStyle(name);
    context.fillStyle = color;
    traceShape(context, [MARK_SIDE / 2, MARK_SIDE / 2], 0.4 * MARK_SIDE, shape);
    context.fill();
    return mark;
  }

  #list(title, numbers) {
    const { hint, list } = this.#parts;
    hint.textContent = title ? `${title}: ${numbers.length}` : this.#hint;
    const entries = numbers.slice(0, MOST_LISTED).map((number) => {
      const mark = this.#makeMark(this.#points.labels[number]);
      const button = make("button", { type: "button" }, mark, this.#describe(number));
      for (const name of ["focus", "mouseenter"]) button.addEventListener(name, () => this.#choose(number));
      return make("li", {}, button);
    });
    if (numbers.length > MOST_LISTED) entries.push(make("li", {}, `and ${numbers.length - MOST_LISTED} more`));
    list.replaceChildren(...entries);
    list.hidden = !entries.length;
    this.#redraw();
  }

  #search(text) {
    this.#clearLoop();
    const numbers = [...this.#points.names.keys()].filter((one) => this.#describe(one).toLowerCase().includes(text));
    if (text) this.#list("Matching images", numbers);
  }

  #clearLoop() {
    this.#loop = null;
    this.#onLoop(null);
    this.#list("", []);
  }

  /** Extend the loop to a position; list the images inside the loop as if it were closed. */
  #extendLoop(x, y) {
    this.#loop ??= new Path2D();
    this.#loop.lineTo(x, y);
    const isInside = (point) => PROBE.isPointInPath(this.#loop, ...this.#project([point])[0], "evenodd");
    const shown = [...this.#scaled.keys()].filter((number) => !this.#hidden.has(this.#points.labels[number]));
    this.#list("Images inside the loop", shown.filter((number) => isInside(this.#scaled[number])));
    this.#onLoop((coordinates) => isInside(this.#scale(coordinates)));
  }

  #redraw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const { canvas } = this.#parts;
    if (!canvas.clientWidth || !canvas.clientHeight) return; // not laid out: printed or hidden
    const ratio = devicePixelRatio || 1;
    Object.assign(canvas, { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const places = this.#project(this.#scaled);
    this.#drawPoints(context, places);
    this.#drawMarks(context, places);
  }

  #drawPoints(context, places) {
    const { classes, labels, emphasized } = this.#points;
    const size = Math.min(5, 1.9 * this.#zoom ** 0.3);
    context.globalAlpha = 0.75;
    for (const name of [...classes, null]) {
      if (this.#hidden.has(name)) continue;
      const [color, shape] = this.#readStyle(name);
      context.fillStyle = color;
      context.beginPath();
      places.forEach((place, number) => {
        const radius = emphasized?.[number] ? 1.6 * size : size;
        if (labels[number] === name) traceShape(context, place, radius, shape);
      });
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** Draw rings around the neighbors and the chosen image, two rings around the subject, and the loop. */
  #drawMarks(context, places) {
    const { position, neighbors, others } = this.#subject;
    const [circled, chosen] = [[...neighbors, ...this.#chosen], this.#chosen.slice(0, 1)];
    const rings = [...circled.map((number) => [places[number], 6]), ...chosen.map((number) => [places[number], 9])];
    const own = position ? [3, 11].map((radius) => [...this.#project([position]), radius]) : [];
    rings.push(...this.#project(others).map((place) => [place, 4]), ...own);
    for (const [color, lineWidth] of [["--paper", 5], ["--ink", 2]]) {
      Object.assign(context, { strokeStyle: this.#readColor(color), lineWidth });
      for (const [[x, y], radius] of rings) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    if (this.#loop) context.stroke(this.#loop);
  }

  /** Return color and shape of a class. */
  #readStyle(name) {
    return this.#points.styles?.[name] ?? [this.#readColor("--ink"), "X"];
  }

  /** Return a color of the style sheet in the current color scheme. */
  #readColor(name) {
    this.#parts.canvas.style.color = `var(${name})`;
    return getComputedStyle(this.#parts.canvas).color;
  }
}

/** Point and draw loops with a mouse, pen or finger: the part of `followGestures` that a report needs. */
function followPointer(canvas, { point, window: drag }) {
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", ({ buttons, offsetX, offsetY }) =>
    buttons ? drag(0, 0, offsetX, offsetY) : point(offsetX, offsetY));
  canvas.addEventListener("click", (event) => point(event.offsetX, event.offsetY));
}

/** Return an element with properties and children; strings become text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Add a shape to the path. */
function traceShape(context, [x, y], size, shape) {
  SHAPES[shape].forEach(([across, down], corner) => {
    context[corner ? "lineTo" : "moveTo"](x + 1.1 * size * across, y + 1.1 * size * down);
  });
  context.closePath();
}

/** Return the corners of a regular polygon that stands on a side, or is turned by a share of a full turn. */
function polygon(corners, turn = 0) {
  const corner = rotate([1, 0], 0.25 + 0.5 / corners + turn);
  return Array.from({ length: corners }, (_, number) => rotate(corner, number / corners));
}

function rotate([x, y], turn, [cosine, sine] = [Math.cos(2 * Math.PI * turn), Math.sin(2 * Math.PI * turn)]) {
  return [x * cosine - y * sine, x * sine + y * cosine];
}

for (const figure of document.querySelectorAll(".interactive-map")) {
  figure.hidden = false;
  const thumbnails = document.querySelector("#map-thumbnails")?.textContent ?? "null";
  new PointMap(figure).offer(JSON.parse(figure.querySelector("script").textContent), JSON.parse(thumbnails));
}
