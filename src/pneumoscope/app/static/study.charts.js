/** Charts as SVG: histograms of scores, ROC curves, learning curves. Colors come from study.css, by class. */

import { niceStep } from "./study.counts.js";

const SPACE = "http://www.w3.org/2000/svg";

/**
 * Return a new SVG element.
 *
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * Draw into an element now and whenever its width changes.
 *
 * @param {HTMLElement} host
 * @param {(width: number) => void} paint
 * @returns {() => void} draws once more.
 */
export function paintAtWidth(host, paint) {
  let drawn = 0;
  const again = () => {
    drawn = Math.floor(host.clientWidth);
    if (drawn > 0) paint(drawn);
  };
  new ResizeObserver(() => {
    if (Math.floor(host.clientWidth) !== drawn) again();
  }).observe(host);
  return again;
}

function makeCanvas(host, width, height) {
  const hidden = { "aria-hidden": "true", focusable: "false" };
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, ...hidden });
  host.replaceChildren(svg);
  return svg;
}

function write(text, x, y, attributes = {}) {
  return draw("text", { x, y, ...attributes }, text);
}

/** Return one piece of a path: a line to a place, or a move to where a line begins. */
function step(goesOn, x, y) {
  return `${goesOn ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
}

/** Half of the slider's thumb: the histogram is inset by it, so that thumb and threshold stand in one line. */
export const INSET = 11;
const [ROW, GAP, AXIS] = [92, 32, 26];

/**
 * Draw histograms of scores, sick upwards and normal downwards, one row a group.
 *
 * @param {HTMLElement} host
 * @param {number} width
 * @param {object} axis see `PROBABILITY`.
 * @param {{title: string, up: {name: string, scores: number[]}, down: {name: string, scores: number[]}}[]} rows
 * @param {{name: string, value: number}[]} marks thresholds with a name.
 * @returns {(threshold: number) => void} moves the line.
 */
export function drawScores(host, width, axis, rows, marks) {
  const height = rows.length * (ROW + GAP) + AXIS;
  const svg = makeCanvas(host, width, height);
  const inner = width - 2 * INSET;
  const numBins = Math.max(24, Math.min(80, Math.floor(inner / 11)));
  const toX = (value) => INSET + axis.toPlace(value) * inner;
  const clips = ["below", "above"].map((side) => {
    const rect = draw("rect", { x: 0, y: 0, width, height });
    svg.append(draw("clipPath", { id: `${host.id}-${side}` }, rect));
    return rect;
  });
  drawTicks(svg, axis, toX, { width, height });
  rows.forEach((row, number) => {
    const top = number * (ROW + GAP) + GAP - 8;
    svg.append(drawRow(row, { top, inner, numBins, axis, right: width - INSET, host: host.id }));
  });
  for (const mark of marks) {
    const x = toX(mark.value);
    svg.append(draw("path", { class: "preset", d: `M${x - 4} ${height - AXIS + 8}l4 -7 4 7z` }));
  }
  const line = draw("line", { class: "cut", y1: 4, y2: height - AXIS + 2 });
  svg.append(line, ...rows.map((row, number) => nameRow(row, number * (ROW + GAP) + GAP - 15, width - INSET)));
  return (threshold) => {
    const x = toX(threshold);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    clips[0].setAttribute("width", Math.max(0, x));
    clips[1].setAttribute("x", x);
    clips[1].setAttribute("width", Math.max(0, width - x));
  };
}

function drawTicks(svg, axis, toX, { width, height }) {
  const middle = axis.ticks[Math.floor(axis.ticks.length / 2)];
  const order = [middle, ...axis.ticks.filter((tick) => tick !== middle)];
  const taken = [];
  for (const tick of order) {
    const [x, text] = [toX(tick), axis.format(tick)];
    svg.append(draw("line", { class: "grid", x1: x, x2: x, y1: 4, y2: height - AXIS }));
    const half = text.length * 3.6 + 5;
    const center = Math.min(width - half + 4, Math.max(half - 4, x));
    if (taken.some(([left, right]) => center - half < right && center + half > left)) continue;
    taken.push([center - half, center + half]);
    svg.append(write(text, center, height - 4, { class: "tick", "text-anchor": "middle" }));
  }
}

function drawRow(row, { top, right, inner, numBins, axis, host }) {
  const count = (scores) => {
    const bins = new Array(numBins).fill(0);
    for (const score of scores) bins[Math.min(numBins - 1, Math.floor(axis.toPlace(score) * numBins))] += 1;
    return bins;
  };
  const [up, down] = [count(row.up.scores), count(row.down.scores)];
  const reach = [Math.sqrt(Math.max(1, ...up)), Math.sqrt(Math.max(1, ...down))];
  const scale = (ROW - 2) / ((row.up.scores.length ? reach[0] : 0) + (row.down.scores.length ? reach[1] : 0));
  const base = top + (row.up.scores.length ? reach[0] * scale : 0) + 1;
  const bar = inner / numBins;
  const outline = (bins, sign) =>
    bins
      .map((number, bin) => {
        if (!number) return "";
        const tall = Math.max(2, Math.sqrt(number) * scale);
        const [left, wide, up] = [INSET + bin * bar + 0.5, bar - 1, -sign * tall].map((length) => length.toFixed(1));
        return `M${left} ${base}h${wide}v${up}h-${wide}z`;
      })
      .join("");
  const group = draw("g");
  // What lies on the wrong side of the threshold is solid: sick below it, normal at or over it.
  for (const [bins, sign, kind, wrong] of [[up, 1, "sick", "below"], [down, -1, "normal", "above"]]) {
    const path = outline(bins, sign);
    group.append(
      draw("path", { class: `bar ${kind}`, d: path }),
      draw("path", { class: `bar ${kind} wrong`, d: path, "clip-path": `url(#${host}-${wrong})` }),
    );
  }
  group.append(draw("line", { class: "base", x1: INSET, x2: right, y1: base, y2: base }));
  return group;
}

function nameRow({ title, up, down }, y, right) {
  const say = (sign, { name, scores }) => (scores.length ? `${sign} ${name} ${scores.length}` : "");
  const sides = [say("▲", up), say("▼", down)];
  const [first, second] = sides.map((text) => draw("tspan", {}, text));
  if (sides[0] && sides[1]) first.setAttribute("dx", 14);
  return draw(
    "g", {},
    write(title, INSET, y, { class: "row-title" }),
    draw("text", { x: right, y, class: "name", "text-anchor": "end" }, second, first),
  );
}

/**
 * Draw a ROC curve.
 *
 * @param {HTMLElement} host
 * @param {number} width
 * @param {{threshold: number, alarms: number, hits: number}[]} points see `traceRoc`.
 * @param {{area: string, fixed: {alarms: number, hits: number}}} notes text of the area, and the point of 0.5.
 * @returns {{place: Function, find: Function}} moves the point; finds the threshold nearest to a place on the screen.
 */
export function drawRoc(host, width, points, { area, fixed }) {
  const [left, bottom, top, right] = [52, 40, 10, 8];
  const side = Math.min(width - left - right, 340);
  const svg = makeCanvas(host, left + side + right, top + side + bottom);
  const toX = (share) => left + share * side;
  const toY = (share) => top + (1 - share) * side;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const text = share === 0 || share === 1 ? String(share) : share.toFixed(2);
    svg.append(
      draw("line", { class: "grid", x1: toX(share), x2: toX(share), y1: toY(0), y2: toY(1) }),
      draw("line", { class: "grid", x1: toX(0), x2: toX(1), y1: toY(share), y2: toY(share) }),
      write(text, toX(share), toY(0) + 15, { class: "tick", "text-anchor": share === 1 ? "end" : "middle" }),
      write(text, left - 6, toY(share) + 4, { class: "tick", "text-anchor": "end" }),
    );
  }
  const d = points.map(({ alarms, hits }, n) => step(n > 0, toX(alarms), toY(hits))).join("");
  const middle = { class: "axis", "text-anchor": "middle" };
  const upright = { ...middle, transform: `rotate(-90 11 ${top + side / 2})` };
  const [across, along] = [draw("line", { class: "spread" }), draw("line", { class: "spread" })];
  const dot = draw("circle", { class: "point", r: 6.5 });
  svg.append(
    draw("line", { class: "chance", x1: toX(0), y1: toY(0), x2: toX(1), y2: toY(1) }),
    draw("path", { class: "under", d: d && `${d}L${toX(1)} ${toY(0)}L${toX(0)} ${toY(0)}z` }),
    draw("path", { class: "curve", d }),
    write("False alarms (1 − specificity)", left + side / 2, top + side + bottom - 8, middle),
    write("Sensitivity", 11, top + side / 2, upright),
    write(area, toX(1) - 6, toY(0) - 8, { class: "area", "text-anchor": "end" }),
  );
  const ring = draw("circle", { class: "fixed", r: 5, cx: toX(fixed.alarms), cy: toY(fixed.hits) });
  if (points.length) svg.append(ring, across, along, dot);
  const stretch = (line, ...ends) => ["x1", "y1", "x2", "y2"].forEach((key, n) => line.setAttribute(key, ends[n]));
  return {
    place({ sensitivity, specificity }, intervals) {
      if (!points.length) return;
      const [x, y] = [toX(1 - specificity), toY(sensitivity)];
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      const [wide, tall] = [intervals.specificity, intervals.sensitivity];
      stretch(across, wide ? toX(1 - wide[1]) : x, y, wide ? toX(1 - wide[0]) : x, y);
      stretch(along, x, tall ? toY(tall[0]) : y, x, tall ? toY(tall[1]) : y);
    },
    find(clientX, clientY) {
      const box = svg.getBoundingClientRect();
      const [alarms, hits] = [(clientX - box.left - left) / side, 1 - (clientY - box.top - top) / side];
      const far = ({ alarms: a, hits: h }) => (a - alarms) ** 2 + (h - hits) ** 2;
      return points.slice(1).reduce((best, point) => (far(point) < far(best) ? point : best)).threshold;
    },
  };
}

/**
 * Draw a figure by epoch, of training and of validation.
 *
 * @param {HTMLElement} host
 * @param {number} width
 * @param {{train: (number | null)[], val: (number | null)[], chosen: number}} curve
 * @returns {{place: (epoch: number) => void, find: (clientX: number) => number}}
 */
export function drawLearning(host, width, { train, val, chosen }) {
  const [left, right, top, bottom, height] = [48, 12, 22, 36, 250];
  const svg = makeCanvas(host, width, height);
  const known = [...train, ...val].filter((value) => value !== null);
  const span = Math.max(...known) - Math.min(...known) || 0.1;
  const unit = niceStep(span, 4);
  const [low, high] = [Math.floor(Math.min(...known) / unit) * unit, Math.ceil(Math.max(...known) / unit) * unit];
  const epochs = train.length;
  const toX = (epoch) => left + (epochs === 1 ? 0.5 : (epoch - 1) / (epochs - 1)) * (width - left - right);
  const toY = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const digits = Math.max(0, -Math.floor(Math.log10(unit) + 1e-9));
  for (let value = low; value <= high + unit / 2; value += unit) {
    svg.append(
      draw("line", { class: "grid", x1: left, x2: width - right, y1: toY(value), y2: toY(value) }),
      write(value.toFixed(digits), left - 7, toY(value) + 4, { class: "tick", "text-anchor": "end" }),
    );
  }
  const every = Math.max(1, Math.round(epochs / 8 / 5) * 5 || 1);
  for (let epoch = 1; epoch <= epochs; epoch += epoch === 1 && every > 1 ? every - 1 : every) {
    svg.append(write(String(epoch), toX(epoch), height - bottom + 16, { class: "tick", "text-anchor": "middle" }));
  }
  const goesOn = (values, n) => n > 0 && values[n - 1] !== null;
  const trace = (values) =>
    values.map((value, n) => (value === null ? "" : step(goesOn(values, n), toX(n + 1), toY(value)))).join("");
  const cursor = draw("line", { class: "cut", y1: top, y2: height - bottom });
  const dots = [draw("circle", { class: "train", r: 4 }), draw("circle", { class: "val", r: 4.5 })];
  const atChosen = toX(chosen);
  const beside = atChosen > width / 2 ? "end" : "start";
  svg.append(
    write("epoch", width - right, height - 4, { class: "axis", "text-anchor": "end" }),
    draw("line", { class: "chosen", x1: atChosen, x2: atChosen, y1: top - 6, y2: height - bottom }),
    write(`kept: epoch ${chosen}`, atChosen, top - 10, { class: "tick", "text-anchor": beside }),
    draw("path", { class: "line train", d: trace(train) }),
    draw("path", { class: "line val", d: trace(val) }),
    cursor, ...dots,
  );
  return {
    place(epoch) {
      cursor.setAttribute("x1", toX(epoch));
      cursor.setAttribute("x2", toX(epoch));
      [train, val].forEach((values, n) => {
        const value = values[epoch - 1];
        dots[n].setAttribute("cx", toX(epoch));
        dots[n].setAttribute("cy", value === null ? -20 : toY(value));
      });
    },
    find(clientX) {
      const share = (clientX - svg.getBoundingClientRect().left - left) / (width - left - right);
      return Math.min(epochs, Math.max(1, Math.round(1 + share * (epochs - 1))));
    },
  };
}
