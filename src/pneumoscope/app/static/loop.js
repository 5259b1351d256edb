/** A loop drawn around points, and the list of what lies inside. */
import { make, makeMark } from "./elements.js";

const MOST_LISTED = 100;

/**
 * Tell whether a place lies inside a loop, by how often a line to the right crosses it.
 *
 * @param {number} x
 * @param {number} y
 * @param {number[][]} loop corners as `[x, y]`.
 */
export function isInside(x, y, loop) {
  let inside = false;
  loop.forEach(([ax, ay], number) => {
    const [bx, by] = loop.at(number - 1);
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  });
  return inside;
}

/**
 * List films by name and class.
 *
 * @param {HTMLOListElement} list
 * @param {{name: string, label: string}[]} films those past the hundredth are counted only.
 */
export function listFilms(list, films) {
  const entries = films.slice(0, MOST_LISTED).map(({ name, label }) => make("li", {}, makeMark(label), name));
  if (films.length > MOST_LISTED) entries.push(make("li", {}, `and ${films.length - MOST_LISTED} more`));
  list.replaceChildren(...entries);
  list.hidden = !films.length;
}
