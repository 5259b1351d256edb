"""A folder or a manifest to a table: which files, of which class, patient and split."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoscope.data.source import hash_file, printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.progress import log, track

COLUMNS = ["path", "name", "sha256", "label", "subtype", "patient", "split"]
EXTENSIONS = (".jpeg", ".jpg", ".png")
LAYOUT = """expected a folder such as
    chest_xray/train/NORMAL/IM-0115-0001.jpeg
    chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg
    chest_xray/test/PNEUMONIA/person1_virus_6.jpeg
(split folders train, val, test are optional; class folders NORMAL and PNEUMONIA, or NORMAL, BACTERIAL and VIRAL),
or a CSV manifest with the columns path and label, and optionally subtype, patient and split."""

_SERIES = re.compile(r"((?:[A-Za-z]+\d*-)?[A-Za-z]+)")
_CLASS_FOLDERS = {
    "normal": ("normal", "normal"),
    "pneumonia": ("pneumonia", "unknown"),
    "bacterial": ("pneumonia", "bacterial"),
    "bacteria": ("pneumonia", "bacterial"),
    "viral": ("pneumonia", "viral"),
    "virus": ("pneumonia", "viral"),
}
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_IGNORED_FOLDERS = {"__macosx", "masks"}
_KAGGLE_SICK = re.compile(r"person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
_KAGGLE_NORMAL = re.compile(r"(?:NORMAL2-)?IM-(\d+)-\d+", re.IGNORECASE)
_MENDELEY = re.compile(r"(BACTERIA|VIRUS|NORMAL)-(\d+)-\d+", re.IGNORECASE)


@dataclass(frozen=True)
class ParsedName:
    """What a file name of the data set says.

    Attributes:
        patient: the number as the scheme writes it, such as `person12`, `IM-0115` or `1008087`.
        subtype: `normal`, `bacterial` or `viral`.
        renumbered: whether this scheme numbers the patients of the test folder anew.
    """

    patient: str
    subtype: str
    renumbered: bool


@dataclass(frozen=True)
class Collection:
    """A listed collection; no pixel has been decoded yet.

    Attributes:
        root: the folder that names are relative to.
        table: one row a file: `path`; `name` (below root, with `/`); `sha256` of the file; `label`, `normal` or
            `pneumonia`; `subtype`, `normal`, `bacterial`, `viral` or `unknown`; `patient`, one string a
            child; `split`, `train`, `val`, `test` or empty.
        skipped: `name` and `reason` of each file left out.
    """

    root: Path
    table: pd.DataFrame
    skipped: pd.DataFrame


def parse_name(file_name: str) -> ParsedName | None:
    """Read sub-type and patient from a file name of either release of the data set.

    Example:
        >>> parse_name("person1_virus_6.jpeg")
        ParsedName(patient='person1', subtype='viral', renumbered=True)
        >>> parse_name("BACTERIA-1008087-0001.jpeg")
        ParsedName(patient='1008087', subtype='bacterial', renumbered=False)
    """
    if match := _KAGGLE_SICK.match(file_name):
        return ParsedName(f"person{int(match[1])}", _CLASS_FOLDERS[match[2].lower()][1], True)
    if match := _MENDELEY.match(file_name):
        return ParsedName(match[2], _CLASS_FOLDERS[match[1].lower()][1], False)
    if match := _KAGGLE_NORMAL.match(file_name):
        return ParsedName(f"IM-{int(match[1]):04d}", "normal", True)
    return None


def name_series(names: Iterable[str]) -> np.ndarray:
    """Return `(n,)` str, the series that each file belongs to: the letters that its name begins with.

    Example:
        >>> name_series(["a/IM-0115-0001.jpeg", "a/NORMAL2-IM-1427-0001.jpeg", "b/person1_virus_6.jpeg"]).tolist()
        ['IM', 'NORMAL2-IM', 'person']
    """
    matches = (_SERIES.match(name.rpartition("/")[2]) for name in names)
    return np.array([match[1] if match else "" for match in matches], dtype=str)


def scan_collection(source: str | os.PathLike[str]) -> Collection:
    """List the radiographs of a folder or of a CSV manifest.

    Folders: class and split are those of the nearest folder so named, in any case. Nested second copies,
    `__MACOSX`, hidden files and folders named `masks` are passed over. In the older naming scheme the
    test folder numbers its patients anew, so these get the prefix `test/`.

    Args:
        source: folder, or `.csv` file with the columns path (relative to the file), label (normal, pneumonia,
            bacterial or viral) and optionally subtype, patient and split.

    Raises:
        CollectionError: if the source does not exist or lists no radiograph.
    """
    source = Path(source)
    if not source.exists():
        raise CollectionError(f"{source} does not exist; {LAYOUT}")
    if source.is_file() and source.suffix.lower() != ".csv":
        raise CollectionError(f"{source} is a file; {LAYOUT}")
    root = source if source.is_dir() else source.parent
    rows, skipped = _list_folder(root) if source.is_dir() else _list_manifest(source)
    with ThreadPoolExecutor() as pool:
        paths = [row["path"] for row in rows]
        digests = list(track(pool.map(_digest, paths), "Listing radiographs", total=len(paths)))
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    copies = 0
    for row, (digest, reason) in zip(rows, digests, strict=True):
        place = Path(row["path"]).name if source.is_dir() else row["name"]
        key = (row["split"], row["label"], row["subtype"], place, digest)
        if reason:
            skipped.append({"name": row["name"], "reason": reason})
        elif key in kept:
            copies += 1
        else:
            kept[key] = {**row, "sha256": digest}
    if not kept:
        listed = "".join(f"\n    {entry['name']}: {entry['reason']}" for entry in skipped[:5])
        raise CollectionError(f"no radiograph found in {source}{listed}\n{LAYOUT}")
    if copies:
        log.info("%d second copies, of the same place, name and bytes, were passed over", copies)
    # Plain Python strings: the strings of pandas refuse paths that are no UTF-8 where pyarrow is installed.
    table = pd.DataFrame(list(kept.values()), columns=COLUMNS, dtype=object)
    return Collection(root, table, pd.DataFrame(skipped, columns=["name", "reason"]))


def _digest(path: str) -> tuple[str, str]:
    """Return the SHA-256 of a file and an empty reason, or why there is none."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return "", "a folder, pipe or device, not a file"  # reading a pipe could wait for ever
        return hash_file(Path(path)), ""
    except FileNotFoundError:
        return "", "the file does not exist (or is a broken link)"
    except OSError as error:
        return "", f"the file cannot be opened: {error.strerror}"


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()

    def tell(error: OSError) -> None:
        log.warning("%s cannot be listed: %s", printable_name(error.filename), error.strerror)

    for folder, folders, files in os.walk(root, onerror=tell, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name.lower() not in _IGNORED_FOLDERS and name[0] != ".")
        disguised = [name for name in folders if Path(name).suffix.lower() in EXTENSIONS]
        yield from (Path(folder, name) for name in sorted((*files, *disguised)) if name[0] != ".")


def _list_folder(root: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    rows, skipped, unknown = [], [], 0
    files = sorted(_walk(root), key=lambda path: (len(path.parts), path))
    for path in files:
        folders = [part.lower() for part in path.relative_to(root.parent).parts[:-1]]
        kind = next((_CLASS_FOLDERS[part] for part in reversed(folders) if part in _CLASS_FOLDERS), None)
        if kind is None:
            continue
        split = next((_SPLIT_FOLDERS[part] for part in reversed(folders) if part in _SPLIT_FOLDERS), "")
        name = printable_name(path.relative_to(root))
        if path.suffix.lower() not in EXTENSIONS:
            skipped.append({"name": name, "reason": f"extension {path.suffix!r}; expected .jpeg, .jpg or .png"})
            continue
        parsed = parse_name(path.name)
        unknown += parsed is None
        rows.append({"path": str(path), "name": name, "split": split, **_describe(kind, parsed, split, name)})
    if unknown:
        log.warning("%d file names tell no patient: each such image counts as a patient of its own", unknown)
    return rows, skipped


def _describe(kind: tuple[str, str], parsed: ParsedName | None, split: str, name: str) -> dict[str, str]:
    label, subtype = kind
    if parsed is None:
        return {"label": label, "subtype": subtype, "patient": name}
    if subtype == "unknown" and parsed.subtype != "normal":
        subtype = parsed.subtype
    anew = parsed.renumbered and split == "test"
    return {"label": label, "subtype": subtype, "patient": f"test/{parsed.patient}" if anew else parsed.patient}


def _list_manifest(manifest: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    try:
        listed = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise CollectionError(f"{manifest} is not a CSV table: {error}; {LAYOUT}") from None
    listed.columns = [str(column).strip().lower() for column in listed.columns]
    if not {"path", "label"} <= set(listed.columns):
        raise CollectionError(f"{manifest} has the columns {', '.join(listed.columns)}; {LAYOUT}")
    rows: list[dict[str, str]] = []
    skipped: list[dict[str, str]] = []
    for entry in listed.to_dict("records"):
        name = printable_name(entry["path"])
        kind = _CLASS_FOLDERS.get(entry["label"].strip().lower())
        split = _SPLIT_FOLDERS.get(entry.get("split", "").strip().lower(), "")
        if kind is None:
            expected = "expected normal, pneumonia, bacterial or viral"
            skipped.append({"name": name, "reason": f"label {entry['label']!r}; {expected}"})
            continue
        subtype = _CLASS_FOLDERS.get(entry.get("subtype", "").strip().lower(), kind)[1]
        parsed = parse_name(Path(entry["path"]).name)
        row = _describe((kind[0], subtype if kind[1] == "unknown" else kind[1]), parsed, split, name)
        if entry.get("patient"):
            row["patient"] = entry["patient"]
        rows.append({"path": str(manifest.parent / entry["path"]), "name": name, "split": split, **row})
    return rows, skipped
