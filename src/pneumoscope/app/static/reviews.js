/** Reviews of predictions, kept in this browser by the hash of the file: no name and no header of a file is stored. */
import { byId, capitalize, labels } from "./elements.js";

const KEY = "pneumoscope-reviews";
const NONE = Object.freeze({ review: "", label: "", note: "" });
/** The label of an image that no class fits. */
const UNSUITABLE = "unsuitable";

/** Return the SHA-256 of a file in hexadecimal digits. */
export async function hashFile(file) {
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The reviews and their form; fires `change`. A review has `review` (accepted or corrected), `label` and `note`. */
export class Reviews extends EventTarget {
  #all = {};
  #item = null;

  constructor() {
    super();
    try {
      this.#all = JSON.parse(localStorage.getItem(KEY)) ?? {};
    } catch {
      // Without storage, the reviews last as long as the page.
    }
    byId("accept").addEventListener("click", () => this.accept());
    byId("correct").addEventListener("change", ({ target }) => this.#change(target.value ? "corrected" : "", target.value));
    byId("note").addEventListener("change", ({ target }) => this.#save({ ...this.get(this.#item), note: target.value.trim() }));
    byId("forget").addEventListener("click", () => {
      this.#all = {};
      this.#store();
    });
  }

  /** Return the review of an image; its texts are empty if there is none. */
  get({ hash }) {
    return this.#all[hash] ?? NONE;
  }

  /** Offer the classes for a correction. */
  offer() {
    const { label_set: { multi_label, negative }, scored } = labels;
    const names = [...scored, ...(multi_label ? [negative ?? "no finding"] : []), UNSUITABLE];
    const options = names.map((name) => new Option(capitalize(name), name));
    byId("correct").replaceChildren(new Option("Correct to…", ""), ...options);
  }

  /** Show the review of an image, or disable the form until the image has a prediction. */
  show(item) {
    this.#item = item;
    const { review, label, note } = this.get(item);
    for (const id of ["accept", "correct", "note"]) byId(id).disabled = !item.hash || !item.row?.decision;
    byId("accept").setAttribute("aria-pressed", String(review === "accepted"));
    byId("correct").value = review === "corrected" ? label : "";
    if (document.activeElement !== byId("note")) byId("note").value = note;
    byId("forget").hidden = !Object.keys(this.#all).length;
  }

  /** Accept the prediction, or withdraw that. */
  accept() {
    if (byId("accept").disabled) return;
    const accepted = this.get(this.#item).review === "accepted";
    this.#change(accepted ? "" : "accepted", accepted ? "" : this.#item.row.decision);
  }

  #change(review, label) {
    this.#save({ review, label, note: this.get(this.#item).note });
  }

  #save(review) {
    if (review.review || review.note) this.#all[this.#item.hash] = review;
    else delete this.#all[this.#item.hash];
    this.#store();
  }

  #store() {
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#all));
      if (!Object.keys(this.#all).length) localStorage.removeItem(KEY);
    } catch {
      // As above.
    }
    this.dispatchEvent(new Event("change"));
  }
}
