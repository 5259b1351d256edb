/** The worklist: one row per image, filled as predictions arrive, sortable by any column. */
import {
  byId, compareNames, formatPercent, getProbability, isScored, labels, make, makeMark, nameDecision, setText,
} from "./elements.js";

// Sort order of the decisions: the most urgent first, other classes before all of these.
const URGENCY = ["uncertain", "negative", "rejected", "error", ""];
const KEYS = {
  decision: (item) => URGENCY.indexOf(classify(item)),
  probability: (item) => getProbability(item.row),
  anomaly: (item) => item.row?.anomaly_percentile ?? null,
};
const FLAGGED = ({ row }) => row?.in_distribution === false && row.decision !== "rejected";
const LASSO = "In the lasso";
const LARGEST_FIRST = new Set(["probability", "anomaly"]);

function classify({ row }) {
  if (row?.error) return "error";
  return row?.decision === (labels.label_set.negative ?? "no finding") ? "negative" : row?.decision ?? "";
}

/** The table of all images. */
export class WorkList {
  #cases;
  #reviews;
  #rows = new WeakMap(); // entry by image
  #sort = { key: null, down: false };
  #selected = null; // whether the lasso on the map contains an image

  /**
   * @param {import("./cases.js").Cases} cases
   * @param {import("./reviews.js").Reviews} reviews
   */
  constructor(cases, reviews) {
    this.#cases = cases;
    this.#reviews = reviews;
    byId("filter").addEventListener("change", () => this.show());
    for (const head of document.querySelectorAll("#rows th[data-sort]")) {
      head.querySelector("button").addEventListener("click", () => this.#sortBy(head.dataset.sort));
    }
  }

  /** Update the table. */
  show() {
    const { list, chosen, numDone } = this.#cases;
    byId("worklist").hidden = list.length < 2;
    byId("workspace").classList.toggle("many", list.length > 1);
    for (const item of list) this.#fill(item);
    this.#offerFilters();
    this.#arrange();
    const { arranged } = this.#cases;
    const place = arranged.indexOf(chosen) + 1;
    byId("steps").hidden = list.length < 2;
    byId("place").textContent = `${place || "–"} of ${arranged.length}`;
    byId("previous").disabled = place <= 1;
    byId("next").disabled = place >= arranged.length;
    setText("progress", numDone < list.length ? `${numDone} of ${list.length} done` : `${list.length} done`);
  }

  /** @param {((item: import("./cases.js").Case) => boolean) | null} contains shows these images only, or all again. */
  select(contains) {
    if (!contains && !this.#selected) return;
    this.#selected = contains;
    this.show();
    byId("filter").value = contains ? LASSO : "All images";
    this.show();
  }

  /** Scroll the row of the selected image into view. */
  reveal() {
    this.#rows.get(this.#cases.chosen)?.row.scrollIntoView({ block: "nearest" });
  }

  /** Move the focus to the selected image. */
  focus() {
    this.#rows.get(this.#cases.chosen)?.open.focus({ preventScroll: true });
  }

  #fill(item) {
    const entry = this.#rows.get(item) ?? this.#begin(item);
    const isChosen = item === this.#cases.chosen;
    entry.row.classList.toggle("chosen", isChosen);
    if (isChosen) entry.open.setAttribute("aria-current", "true");
    else entry.open.removeAttribute("aria-current");
    // There may be thousands of rows, so only changed rows are updated.
    const review = this.#reviews.get(item);
    if (item.state === entry.state && item.row === entry.reading && review === entry.review) return;
    Object.assign(entry, { state: item.state, reading: item.row, review });
    entry.row.classList.toggle("pending", item.state !== "done");
    const { row } = item;
    const scored = isScored(row) || !row;
    const probability = getProbability(row);
    const percentile = row?.anomaly_percentile ?? null;
    entry.decision.replaceChildren(...describeDecision(item), ...describeReview(review));
    // Without scores, the reason spans the columns of the scores.
    entry.decision.colSpan = scored ? 1 : 3;
    entry.probability.hidden = !scored;
    entry.anomaly.hidden = !scored || document.querySelector('#rows th[data-sort="anomaly"]').hidden;
    entry.probability.textContent = probability === null ? "" : formatPercent(probability);
    entry.anomaly.textContent = percentile === null ? "" : String(Math.floor(percentile));
  }

  #begin(item) {
    const name = item.name.split("/").at(-1);
    const folder = item.name.slice(0, -name.length);
    // Long names break after their parts.
    const parts = name.split(/(?<=[-_. ])/).flatMap((part) => [part, make("wbr")]);
    const open = make("button", { type: "button", class: "open", title: item.name }, make("span", {}, ...parts));
    if (folder) open.prepend(make("span", { class: "folder soft" }, folder));
    open.addEventListener("click", () => this.#cases.choose(item));
    const [decision, probability, anomaly] = ["", "number", "number"].map((name) => make("td", { class: name }));
    const row = make("tr", {}, make("th", { scope: "row" }, open), decision, probability, anomaly);
    row.addEventListener("click", (event) => !open.contains(event.target) && this.#cases.choose(item));
    const entry = { row, open, decision, probability, anomaly, state: "", reading: null, review: null };
    this.#rows.set(item, entry);
    return entry;
  }

  #sortBy(key) {
    const { key: former, down } = this.#sort;
    this.#sort = { key, down: former === key ? !down : LARGEST_FIRST.has(key) };
    this.show();
    this.reveal();
  }

  /** Return which images each filter shows, by its name. */
  #listFilters() {
    const decisions = [...new Set(this.#cases.list.flatMap(({ row }) => row?.decision?.split("|") ?? []))].sort(compareNames);
    const hasReview = (item) => Boolean(this.#reviews.get(item).review);
    return {
      "All images": () => true,
      [LASSO]: this.#selected ?? (() => false),
      ...Object.fromEntries(decisions.map((name) => [nameDecision(name), ({ row }) => row?.decision?.split("|").includes(name)])),
      Unreadable: ({ row }) => Boolean(row?.error),
      "Out-of-distribution": FLAGGED,
      Reviewed: hasReview,
      "Not reviewed": (item) => !hasReview(item),
      Corrected: (item) => this.#reviews.get(item).review === "corrected",
    };
  }

  #offerFilters() {
    const filter = byId("filter");
    const { value } = filter;
    const counts = Object.entries(this.#listFilters()).map(([name, shows]) => [name, this.#cases.list.filter(shows).length]);
    const offered = counts.filter(([name, count]) => count || name === value);
    const texts = offered.map(([name, count]) => `${name} (${count})`);
    if (texts.join() === [...filter.options].map(({ text }) => text).join()) return;
    filter.replaceChildren(...offered.map(([name], number) => new Option(texts[number], name)));
    filter.value = value;
    if (filter.selectedIndex < 0) filter.selectedIndex = 0;
  }

  #arrange() {
    const { key, down } = this.#sort;
    const order = this.#cases.list.filter(this.#listFilters()[byId("filter").value] ?? (() => true));
    if (key === "name") order.sort((a, b) => compareNames(a.name, b.name) * (down ? -1 : 1));
    else if (key) order.sort((a, b) => compareNumbers(KEYS[key](a), KEYS[key](b), down));
    this.#cases.arrange(order);
    const body = document.querySelector("#rows tbody");
    order.forEach((item, number) => {
      const { row } = this.#rows.get(item);
      if (body.children[number] !== row) body.insertBefore(row, body.children[number] ?? null);
    });
    while (body.children.length > order.length) body.lastElementChild.remove(); // of a former list
    for (const head of document.querySelectorAll("#rows th[data-sort]")) {
      if (head.dataset.sort === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }
}

/** Compare numbers; null comes last. */
function compareNumbers(a, b, down) {
  return (a === null) - (b === null) || (a - b) * (down ? -1 : 1);
}

function describeReview({ review, label, note }) {
  if (!review) return note ? [make("span", { class: "reviewed", title: note }, "note")] : [];
  return [make("span", { class: "reviewed", title: note }, review === "accepted" ? "✓ accepted" : `✎ ${label}`)];
}

function describeDecision({ state, row }) {
  if (!row) return [make("span", { class: "soft" }, state === "reading" ? "predicting…" : "waiting")];
  const fault = row.error ? `Error: ${row.error}` : row.decision === "rejected" ? `Rejected: ${row.reason}` : "";
  if (fault) return [make("span", { class: "fault", title: fault }, fault)];
  const title = nameDecision(row.decision);
  const count = row.decision.split("|").length;
  const text = count > 2 ? `${count} findings` : title;
  const parts = [make("span", { class: "decision", title }, makeMark(row.decision), text)];
  if (row.in_distribution === false) parts.push(make("abbr", { class: "soft", title: "out-of-distribution" }, "OOD"));
  return parts;
}
