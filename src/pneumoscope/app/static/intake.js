/** Images come in: dropped (folders too), pasted, picked, or as one of the phantoms. */
import { getFile, getJson } from "./api.js";
import { byId, compareNames, make, showMessage } from "./elements.js";

const MAX_FILES = 5000;

/** @param {(files: {file: File, name: string, phantom?: boolean}[]) => void} take called with all images that come in. */
export function openIntake(take) {
  const picker = byId("picker");
  for (const id of ["choose", "add"]) byId(id).addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    take(nameFiles([...picker.files]));
    picker.value = ""; // so that the same file can be picked again
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(nameFiles(files));
  });
  followDrops(take);
}

function nameFiles(files) {
  return files.map((file) => ({ file, name: file.name || "pasted image" }));
}

function followDrops(take) {
  const veil = byId("dropping");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  document.addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    const files = await unpackDrop(event.dataTransfer);
    if (files.length > MAX_FILES) showMessage(`${files.length} files were dropped; the first ${MAX_FILES} are read.`);
    if (files.length) take(files.slice(0, MAX_FILES));
    else showMessage("The drop contained no file.");
  });
}

/** Return all files of a drop; those in folders are named by their path below the folder. */
async function unpackDrop(transfer) {
  // The list empties itself once this function waits, so that entries are taken out first.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return nameFiles([...transfer.files]);
  const files = (await Promise.all(entries.map(walkEntry))).flat();
  return files.sort((a, b) => compareNames(a.name, b.name));
}

async function walkEntry(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    return file ? [{ file, name: entry.fullPath.replace(/^\//, "") }] : [];
  }
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    // A folder is read in portions; an empty one is its end.
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
    if (!portion.length) return files;
    files.push(...(await Promise.all(portion.map(walkEntry))).flat());
  }
}

/** Offer the phantoms of the package; `take` is that of `openIntake`. */
export async function offerPhantoms(take) {
  const phantoms = await getJson("/api/phantoms");
  byId("phantoms").replaceChildren(...phantoms.map(({ name, kind, url }) => {
    const picture = make("img", { src: url, alt: "", width: "160", height: "160" });
    const label = make("span", { class: "label" }, `phantom: ${kind}`);
    const button = make("button", { type: "button", class: "phantom" }, picture, label);
    button.addEventListener("click", async () => {
      try {
        take([{ file: await getFile(url, `${name}.png`), name: `${name}.png`, phantom: true }]);
      } catch (error) {
        showMessage(error.message);
      }
    });
    return make("li", {}, button);
  }));
}
