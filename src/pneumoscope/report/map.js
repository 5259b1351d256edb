/**
 * A map of embeddings: point at an image, zoom, draw a loop around some, find one by name.
 *
 * The app imports this module; a study's report holds it inline and gives every `.living-map` its points as JSON.
 */
const [MARGIN, REACH, MAX_ZOOM, MOST_LISTED] = [36, 14, 40, 100];
const PROBE = document.createElement("canvas").getContext("2d"); // tests which points lie inside a loop
const CORNERS = [12, 3, 4]; // of the shape of each class: circle, triangle, square

/** A scatter plot on a canvas, and the lists beside it. */
export class PointMap {
  #parts;
  #mark;
  #hint;
  #points = { classes: [], names: [], labels: [] };
  #scaled = [];
  #scale = null;
  #hidden = new Set();
  #subject = { position: null, neighbors: [] };
  #zoom = 1;
  #center = [0.5, 0.5];
  #chosen = []; // the image that is described, and its neighbors
  #loop = null;
  #frame = 0;

  /**
   * @param {HTMLElement} root holds `.map-canvas`, `.map-hint`, `.map-list`, `.map-filters`, and maybe `.map-card`,
   *   `.map-search`, `.map-loop` and buttons with `data-map`; without `.map-loop` every drag draws a loop.
   * @param {object} [options] `follow` gestures (see `gestures.js`); return the `mark` of a class.
   */
  constructor(root, { follow = followPointer, mark = () => "" } = {}) {
    const names = ["canvas", "hint", "list", "card", "search", "filters", "loop"];
    this.#parts = Object.fromEntries(names.map((name) => [name, root.querySelector(`.map-${name}`)]));
    this.#mark = mark;
    this.#hint = this.#parts.hint.textContent;
    const { canvas, search, loop } = this.#parts;
    follow(canvas, {
      move: (dx, dy) => this.#move(dx, dy),
      zoom: (factor, x, y) => this.#zoomAt(factor, x, y),
      point: (x, y) => this.#choose(this.#findNear(x, y)),
      leave: () => this.#choose(undefined),
      window: (_dx, _dy, x, y) => this.#extendLoop(x, y),
      windows: () => loop?.ariaPressed !== "false",
      // A page is scrolled by the wheel too, until somebody has turned to the map.
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
    const buttons = root.querySelectorAll("[data-map]");
    for (const button of buttons) button.addEventListener("click", acts[button.dataset.map]);
  }

  /**
   * @param {object} points `classes`; by image `names`, `labels` (class names, null where unknown) and `coordinates`
   *   ([x, y], y upwards). The report adds `colors` by class, and by image `emphasized`, `nearest` and `thumbnails`.
   */
  offer(points) {
    this.#points = points;
    this.#scalePoints(points.coordinates);
    this.#parts.filters.append(...points.classes.map((name) => this.#makeFilter(name)));
    this.#redraw();
  }

  /** Mark the place of an image that is none of the points, by its coordinates, and its neighbors, by number. */
  show(position, neighbors) {
    if (!this.#scale) return; // no points yet
    this.#subject = { position: position && this.#scale(position), neighbors };
    this.#redraw();
  }

  /** Scale coordinates into the unit square, one unit for both axes. */
  #scalePoints(coordinates) {
    const axes = [0, 1].map((axis) => coordinates.map((point) => point[axis]));
    const lows = axes.map((values) => values.reduce((a, b) => Math.min(a, b)));
    const highs = axes.map((values) => values.reduce((a, b) => Math.max(a, b)));
    const span = Math.max(highs[0] - lows[0], highs[1] - lows[1]) || 1;
    const [x0, y0] = highs.map((high, axis) => (high + lows[axis]) / 2);
    this.#scale = ([x, y]) => [0.5 + (x - x0) / span, 0.5 - (y - y0) / span];
    this.#scaled = coordinates.map(this.#scale);
  }

  /** Return how many CSS pixels the side of the unit square takes. */
  #size() {
    const { clientWidth, clientHeight } = this.#parts.canvas;
    return Math.max(1, Math.min(clientWidth, clientHeight) - 2 * MARGIN) * this.#zoom;
  }

  /** Return where each point of the unit square lies on the canvas, in CSS pixels. */
  #project(points) {
    const { clientWidth, clientHeight } = this.#parts.canvas;
    const [size, [x0, y0]] = [this.#size(), this.#center];
    return points.map(([x, y]) => [clientWidth / 2 + (x - x0) * size, clientHeight / 2 + (y - y0) * size]);
  }

  #showAt(zoom, center) {
    if (this.#loop) this.#clearLoop(); // it is drawn on the canvas, not on the map
    this.#zoom = zoom;
    this.#center = center.map((value) => Math.min(1, Math.max(0, value)));
    this.#parts.canvas.classList.toggle("zoomed", zoom > 1);
    this.#redraw();
  }

  #move(dx, dy) {
    const size = this.#size();
    this.#showAt(this.#zoom, [this.#center[0] - dx / size, this.#center[1] - dy / size]);
  }

  /** Zoom about a place in CSS pixels, the middle by default. */
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

  /** Describe an image and its neighbors: on the card where there is one, else in the hint. */
  #choose(number) {
    if (number === this.#chosen[0]) return;
    this.#chosen = number === undefined ? [] : [number, ...(this.#points.nearest?.[number] ?? [])];
    const { card, hint } = this.#parts;
    if (card) card.replaceChildren(...this.#chosen.map((one, place) => this.#makeEntry(one, place)));
    else hint.textContent = number === undefined ? this.#hint : this.#describe(number);
    this.#redraw();
  }

  #describe(number) {
    return `${this.#points.names[number]}, ${this.#points.labels[number] ?? "class unknown"}`;
  }

  #makeEntry(number, place) {
    const { address, side, across, shown } = this.#points.thumbnails ?? {};
    const thumbnail = make("span", { className: "map-thumbnail" });
    if (shown?.[number]) {
      const background = `url(${address}) -${side * (number % across)}px -${side * Math.floor(number / across)}px`;
      Object.assign(thumbnail.style, { background, width: `${side}px`, height: `${side}px` });
    }
    return make("p", {}, thumbnail, `${place ? "neighbor: " : ""}${this.#describe(number)}`);
  }

  #makeFilter(name) {
    const box = make("input", { type: "checkbox", checked: true });
    if (this.#points.colors) box.style.accentColor = this.#points.colors[name];
    box.addEventListener("change", () => {
      this.#hidden[box.checked ? "delete" : "add"](name);
      this.#redraw();
    });
    return make("label", { className: "small" }, box, this.#mark(name), name);
  }

  #list(title, numbers) {
    const { hint, list } = this.#parts;
    hint.textContent = title ? `${title}: ${numbers.length}` : this.#hint;
    const entries = numbers.slice(0, MOST_LISTED).map((number) => {
      const mark = this.#mark(this.#points.labels[number]);
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
    this.#list("", []);
  }

  /** The loop goes through a place; list what lies inside, as if it were closed. */
  #extendLoop(x, y) {
    this.#loop ??= new Path2D();
    this.#loop.lineTo(x, y);
    const isInside = (place) => PROBE.isPointInPath(this.#loop, ...place, "evenodd");
    const places = this.#project(this.#scaled);
    const numbers = [...places.keys()].filter((number) => isInside(places[number]));
    this.#list("Images inside the loop", numbers.filter((number) => !this.#hidden.has(this.#points.labels[number])));
  }

  #redraw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const { canvas } = this.#parts;
    if (!canvas.clientWidth || !canvas.clientHeight) return; // not laid out: on paper, or hidden
    const ratio = devicePixelRatio || 1;
    Object.assign(canvas, { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const places = this.#project(this.#scaled);
    this.#drawPoints(context, places);
    this.#drawMarks(context, places);
  }

  #drawPoints(context, places) {
    const { classes, labels, colors, emphasized } = this.#points;
    const size = Math.min(5, 1.9 * this.#zoom ** 0.3);
    context.globalAlpha = 0.75;
    [...classes, null].forEach((name, shape) => {
      if (this.#hidden.has(name)) return;
      context.fillStyle = colors?.[name] ?? this.#readColor(name ? `--${name}` : "--ink");
      context.beginPath();
      places.forEach((place, number) => {
        const radius = emphasized?.[number] ? 1.6 * size : size;
        if (labels[number] === name) traceShape(context, place, radius, CORNERS[shape]);
      });
      context.fill();
    });
    context.globalAlpha = 1;
  }

  /** Ring the neighbors, the chosen image and, twice, the subject; draw the loop. */
  #drawMarks(context, places) {
    const { position, neighbors } = this.#subject;
    const rings = [...neighbors, ...this.#chosen].map((number) => [places[number], 6]);
    for (const number of this.#chosen.slice(0, 1)) rings.push([places[number], 9]);
    if (position) rings.push([...this.#project([position]), 3], [...this.#project([position]), 11]);
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

  /** Return a color of the style sheet as the browser resolves it now, light or dark. */
  #readColor(name) {
    this.#parts.canvas.style.color = `var(${name})`;
    return getComputedStyle(this.#parts.canvas).color;
  }
}

/** Point and draw loops with a mouse, pen or finger: as much of `followGestures` as a report needs. */
function followPointer(canvas, { point, window: drag }) {
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) drag(0, 0, event.offsetX, event.offsetY);
    else point(event.offsetX, event.offsetY);
  });
  canvas.addEventListener("click", (event) => point(event.offsetX, event.offsetY));
}

/** Return an element with properties and children; text enters as text, never as markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Add a regular polygon to the path; one of many corners is a circle. */
function traceShape(context, [x, y], size, corners = 4) {
  for (let corner = 0; corner < corners; corner += 1) {
    const angle = Math.PI * (0.5 + (2 * corner + 1) / corners);
    context[corner ? "lineTo" : "moveTo"](x + 1.1 * size * Math.cos(angle), y + 1.1 * size * Math.sin(angle));
  }
  context.closePath();
}

for (const figure of document.querySelectorAll(".living-map")) {
  figure.hidden = false;
  new PointMap(figure).offer(JSON.parse(figure.querySelector("script").textContent));
}
