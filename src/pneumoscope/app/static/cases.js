/**
 * The films at hand and the queue of their reading. Nothing of this outlives the page.
 *
 * The chosen film is read in full at once; the others fill their rows in the background, a few to a request.
 */
import { RequestError, readFiles } from "./api.js";

const FILES_AT_ONCE = 8;
const BYTES_AT_ONCE = 64e6;
const FULL_KEPT = 8;
const PATIENCE_MS = 2000;
const MAX_TRIES = 5;

/**
 * One film.
 *
 * @typedef {object} Case
 * @property {File} file
 * @property {string} name as shown; the path below a dropped folder.
 * @property {boolean} phantom whether it is one of the drawings that come with the program.
 * @property {"waiting" | "reading" | "done"} state of its row.
 * @property {object | null} row the answer, without pictures.
 * @property {object | null} full the answer with what stands behind it; only of the last few films looked at.
 * @property {string | null} picture the film as a data address, where a browser cannot show the file itself.
 */

/** All films, fires `change` when a row or the choice changed, and `trouble` with a message in `detail`. */
export class Cases extends EventTarget {
  /** @type {Case[]} */
  list = [];
  /** @type {Case | null} */
  chosen = null;
  point = "balanced";
  maxBytes;
  #order = [];
  #generation = 0;
  #rows = null;
  #pending = new Map();
  #recent = [];

  /** @param {number} maxBytes of one file; a larger one is not even sent. */
  constructor(maxBytes) {
    super();
    this.maxBytes = maxBytes;
  }

  /**
   * Take in films, choose the first of them, and begin to read.
   *
   * @param {{file: File, name: string, phantom?: boolean}[]} films
   */
  add(films) {
    const added = films.map(({ file, name, phantom = false }) => ({
      file, name, phantom, state: "waiting", row: null, full: null, picture: null,
    }));
    this.list.push(...added);
    for (const item of added.filter((one) => !this.#fits(one))) {
      const [megabytes, most] = [item.file.size, this.maxBytes].map((bytes) => Math.ceil(bytes / 2 ** 20));
      this.#settle(item, { error: `${megabytes} MB; expected at most ${most} MB` });
    }
    if (added.length) this.choose(added[0]);
    this.#readRows();
  }

  /** Forget all films and stop reading. */
  clear() {
    this.#stop();
    Object.assign(this, { list: [], chosen: null });
    this.#order = [];
    this.#recent = [];
    this.#tell();
  }

  /** @param {Case} item to look at. */
  choose(item) {
    this.chosen = item;
    this.#tell();
    this.#readFull(item);
  }

  /** @param {Case[]} items all films in the order in which `step` goes through them. */
  arrange(items) {
    this.#order = items;
  }

  /** The films in the order in which `step` goes through them. */
  get arranged() {
    return this.#order.length === this.list.length ? this.#order : this.list;
  }

  /** @param {number} by 1 for the next film, -1 for the previous. */
  step(by) {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + by];
    if (next) this.choose(next);
  }

  /** @param {string} point operating point; all films are read again. */
  setPoint(point) {
    if (point === this.point) return;
    this.point = point;
    this.retry();
  }

  /** Read all films again that could be sent at all. */
  retry() {
    this.#stop();
    for (const item of this.list.filter((one) => this.#fits(one))) {
      item.state = "waiting";
    }
    this.#tell();
    this.#readFull(this.chosen);
    this.#readRows();
  }

  /** How many rows are filled. */
  get numDone() {
    return this.list.filter((item) => item.state === "done").length;
  }

  #stop() {
    this.#generation += 1;
    this.#rows?.abort();
    for (const control of this.#pending.values()) control.abort();
    this.#rows = null;
    this.#pending.clear();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  #fits(item) {
    return item.file.size <= this.maxBytes;
  }

  #settle(item, row, full = null) {
    Object.assign(item, { state: "done", row: { ...row, path: item.name }, full });
  }

  /** Read one film with its pictures; what was read ahead of another choice is given up. */
  async #readFull(item) {
    for (const [other, control] of this.#pending) if (other !== item) control.abort();
    if (!item || (item.full && item.state === "done") || this.#pending.has(item) || !this.#fits(item)) return;
    const control = new AbortController();
    const generation = this.#generation;
    this.#pending.set(item, control);
    const waited = item.state === "waiting";
    if (waited) item.state = "reading";
    try {
      const [answer] = await this.#ask([item], "full", control.signal);
      this.#keepFull(item, answer);
    } catch (error) {
      if (!control.signal.aborted) this.#fail([item], error);
      else if (waited && item.state === "reading") item.state = "waiting";
    }
    if (generation !== this.#generation) return;
    if (this.#pending.get(item) === control) this.#pending.delete(item);
    this.#tell();
    if (item.full || item.state === "waiting") this.#readRows();
  }

  #keepFull(item, answer) {
    const { heatmaps, anomaly_map, picture, position, ...row } = answer;
    // The place of a known film on the map is no part of the table.
    const neighbors = row.neighbors.map(({ index, ...neighbor }) => neighbor);
    this.#settle(item, { ...row, neighbors }, { ...row, heatmaps, anomaly_map, position });
    item.picture = picture ?? null;
    this.#recent = [item, ...this.#recent.filter((other) => other !== item)];
    for (const old of this.#recent.splice(FULL_KEPT)) Object.assign(old, { full: null, picture: null });
  }

  /** Read what waits, one request at a time, then the next film in full; while one runs, this does nothing. */
  async #readRows() {
    if (this.#rows) return;
    const generation = this.#generation;
    for (let batch = this.#nextBatch(); batch.length; batch = this.#nextBatch()) {
      for (const item of batch) item.state = "reading";
      this.#rows = new AbortController();
      this.#tell();
      const reached = await this.#readBatch(batch, this.#rows.signal);
      if (generation !== this.#generation) return;
      if (!reached) break;
    }
    this.#rows = null;
    this.#tell();
    this.#readAhead();
  }

  /** Read the film that comes next, so that stepping to it does not wait. */
  #readAhead() {
    const next = this.arranged[this.arranged.indexOf(this.chosen) + 1];
    const readable = next?.state === "done" && !next.row.error;
    if (readable && this.chosen.full && !this.#pending.size) this.#readFull(next);
  }

  /** Fill the rows of some films; false if there was nobody to ask. */
  async #readBatch(batch, signal) {
    try {
      const answers = await this.#ask(batch, "row", signal);
      // A film that was meanwhile chosen may have its full answer already.
      batch.forEach((item, number) => item.state === "reading" && this.#settle(item, answers[number]));
    } catch (error) {
      if (signal.aborted) return false;
      if (batch.length === 1 || !error.status) {
        this.#fail(batch, error);
        return Boolean(error.status);
      }
      // The fault of one file must not be that of its neighbors.
      for (const item of batch) if (!(await this.#readBatch([item], signal))) return false;
    }
    return true;
  }

  /** Ask for readings, again after a while where the server had too much to do. */
  async #ask(items, detail, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await readFiles(items.map(({ file }) => file), { point: this.point, detail, signal });
      } catch (error) {
        if (error.status !== 503 || tries === MAX_TRIES || signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS * tries));
      }
    }
  }

  #nextBatch() {
    const batch = [];
    let bytes = 0;
    for (const item of this.arranged.filter((one) => one.state === "waiting")) {
      bytes += item.file.size;
      if (batch.length && (batch.length === FILES_AT_ONCE || bytes > BYTES_AT_ONCE)) break;
      batch.push(item);
    }
    return batch;
  }

  /** Films at fault say so in their row; where nobody answered at all, they wait for another try. */
  #fail(items, error) {
    const message = error instanceof RequestError ? error.message : `This page failed: ${error.message}`;
    for (const item of items) {
      if (error.status || item === this.chosen) this.#settle(item, { error: message });
      else item.state = "waiting";
    }
    if (!error.status) this.dispatchEvent(new CustomEvent("trouble", { detail: message }));
  }
}
