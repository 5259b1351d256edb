/** The known films nearest to the new one. */
import { byId, make, makeMark } from "./elements.js";

/**
 * Show the nearest known films.
 *
 * @param {object | null} row the answer.
 * @param {{pictures?: boolean} | null} known what the server says of the known films.
 */
export function showSimilar(row, known) {
  const neighbors = row?.neighbors ?? [];
  byId("similar").hidden = !neighbors.length;
  if (!neighbors.length) return;
  byId("similar-note").textContent = sayVotes(neighbors);
  const farthest = Math.max(...neighbors.map(({ distance }) => distance));
  byId("neighbors").replaceChildren(...neighbors.map((neighbor) => drawNeighbor(neighbor, farthest, known)));
}

function sayVotes(neighbors) {
  const counts = new Map();
  for (const { label } of neighbors) counts.set(label, (counts.get(label) ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) => `${count} ${label}`);
  return `Of the ${neighbors.length} training films that are most alike to the classifier: ${parts.join(", ")}.`;
}

function drawNeighbor({ name, label, distance, index }, farthest, known) {
  const length = make("i", { class: "length", "aria-hidden": "true" });
  length.style.setProperty("--to", String(farthest ? distance / farthest : 0));
  const text = make(
    "div", { class: "text" },
    make("p", { class: "label" }, makeMark(label), label),
    make("p", { class: "name", title: name }, name),
    make("p", { class: "small soft number" }, `distance ${distance.toFixed(2)}`),
    length,
  );
  const entry = make("li", {}, text);
  if (known?.pictures && index !== undefined) {
    const source = `/api/known/${index}.png`;
    entry.prepend(make("img", { src: source, alt: `Known film, ${label}`, width: "128", height: "128", loading: "lazy" }));
  }
  return entry;
}
