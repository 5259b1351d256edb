/** How films come in: dropped (folders too), pasted, picked, or one of the phantoms. */
import { getFile, getJson } from "./api.js";
import { byId, compareNames, make } from "./elements.js";

const MAX_FILES = 5000;

/**
 * Take in films by every way there is.
 *
 * @param {(films: {file: File, name: string, phantom?: boolean}[]) => void} take
 * @param {(message: string) => void} complain
 */
export function openIntake(take, complain) {
  const picker = byId("picker");
  for (const id of ["choose", "add"]) byId(id).addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    take(nameFilms([...picker.files]));
    picker.value = ""; // so that the same file can be picked again
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(nameFilms(files));
  });
  followDrops(take, complain);
}

function nameFilms(files) {
  return files.map((file) => ({ file, name: file.webkitRelativePath || file.name || "pasted picture" }));
}

function followDrops(take, complain) {
  const veil = byId("dropping");
  const bringsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!bringsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  document.addEventListener("drop", async (event) => {
    if (!bringsFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const films = await unpackDrop(event.dataTransfer);
    if (films.length > MAX_FILES) complain(`${films.length} files were dropped; the first ${MAX_FILES} are read.`);
    if (films.length) take(films.slice(0, MAX_FILES));
    else complain("There was no file in what was dropped.");
  });
}

/** Return all files of a drop, those in folders named by their path below the folder. */
async function unpackDrop(transfer) {
  // The list empties itself once this function waits, so that entries are taken out first.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return nameFilms([...transfer.files]);
  const films = (await Promise.all(entries.map(walkEntry))).flat();
  return films.sort((a, b) => compareNames(a.name, b.name));
}

async function walkEntry(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    return file ? [{ file, name: entry.fullPath.replace(/^\//, "") }] : [];
  }
  const reader = entry.createReader();
  const films = [];
  for (;;) {
    // A folder is told in portions, and an empty one is its end.
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (!portion.length) return films;
    films.push(...(await Promise.all(portion.map(walkEntry))).flat());
  }
}

/**
 * Offer the phantoms that come with the program.
 *
 * @param {(films: {file: File, name: string, phantom: boolean}[]) => void} take
 * @param {(message: string) => void} complain
 */
export async function offerPhantoms(take, complain) {
  const phantoms = await getJson("/api/phantoms");
  byId("phantoms").replaceChildren(...phantoms.map(({ name, kind, url }) => {
    const picture = make("img", { src: url, alt: "", width: "160", height: "160" });
    const label = make("span", { class: "label" }, `drawn: ${kind}`);
    const button = make("button", { type: "button", class: "phantom" }, picture, label);
    button.addEventListener("click", async () => {
      try {
        take([{ file: await getFile(url, `${name}.png`), name: `${name}.png`, phantom: true }]);
      } catch (error) {
        complain(error.message);
      }
    });
    return make("li", {}, button);
  }));
}
