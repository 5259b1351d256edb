/** Single keys for what a reader does all day. They rest while something is typed, and can be turned off. */
import { byId } from "./elements.js";

// These work before there is a film.
const ALWAYS = ["u", "?"];

/**
 * Follow keys.
 *
 * @param {Record<string, () => void>} acts by `event.key`, single characters.
 * @param {() => boolean} awake whether there is a film to act on.
 */
export function followKeys(acts, awake) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
    if (!(event.key in acts) || !byId("keys-on").checked || document.querySelector("dialog[open]")) return;
    if (!awake() && !ALWAYS.includes(event.key)) return;
    event.preventDefault();
    acts[event.key]();
  });
  const help = byId("help");
  byId("help-open").addEventListener("click", () => help.showModal());
  byId("help-close").addEventListener("click", () => help.close());
  help.addEventListener("click", (event) => event.target === help && help.close());
}

/** Whether characters belong to the element that has the focus. */
function isTyping(element) {
  return element.matches?.("input:not([type=checkbox], [type=radio], [type=range]), select, textarea");
}
