"""Collections: list a folder or a manifest with the class, patient and split of each file."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumoscope.data.kermany import KERMANY
from pneumoscope.data.manifest import SUFFIXES, check_labels, find_image, read_manifest
from pneumoscope.data.naming import ParsedName
from pneumoscope.data.source import hash_file, printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.progress import log, track

# Naming schemes, tried in this order. To support another data set, add a file such as kermany.py and list it here.
DATA_SETS = (KERMANY,)

COLUMNS = ["path", "name", "sha256", "label", "uncertain", "patient", "split", "age", "sex", "view"]
EXTENSIONS = (".jpeg", ".jpg", ".png")

_LAYOUT = f"""expected a folder such as{" or".join(scheme.layout for scheme in DATA_SETS)},
or a manifest (CSV, TSV, Parquet) with the columns path and label, and optionally subtype, patient and split."""
_CLASSES = {name: labels for scheme in reversed(DATA_SETS) for name, labels in scheme.classes.items()}
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("dev", "val", "valid", "validate", "validation"),
    "test": ("test", "testing"),
}
_SPLITS = {f"{name}{end}": split for split, names in _SPLIT_NAMES.items() for name in names for end in ("", "set")}
_EXPECTED_CLASSES = f"expected {', '.join(_CLASSES)}"
_IGNORED_FOLDERS = {"__macosx", "masks"}

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Collection:
    """Listed files; no image is decoded yet.

    Attributes:
        table: one row per file, all columns str: `path`; `name`, the path relative to the source, with `/`; `sha256`;
            `label`, `normal` or `pneumonia`; `subtype`, such as `normal` or `viral`, or `unknown`; `patient`;
            `split`, `train`, `val`, `test` or empty.
        skipped: `name` and `reason` of each skipped file.
    """

    table: pd.DataFrame
    skipped: pd.DataFrame


def parse_name(file_name: str) -> ParsedName | None:
    """Return the patient and subtype of a file name; None if no naming scheme matches."""
    return next((parsed for scheme in DATA_SETS if (parsed := scheme.parse_name(file_name))), None)


def name_series(names: Iterable[str]) -> np.ndarray:
    """Return `(n,)` str, the series of each file name; empty if the name has none.

    Example:
        >>> name_series(["a/IM-0115-0001.jpeg", "a/NORMAL2-IM-1427-0001.jpeg", "b/person1_virus_6.jpeg"]).tolist()
        ['IM', 'NORMAL2-IM', 'person']
    """
    files = (name.rpartition("/")[2] for name in names)
    series = [next(filter(None, (scheme.find_series(file) for scheme in DATA_SETS)), "") for file in files]
    return np.array(series, dtype=str)


def scan_collection(source: str | os.PathLike[str]) -> Collection:
    """List the radiographs of a folder or of a manifest.

    In a folder, the nearest parent folder with the name of a class or split sets it; case is ignored. Hidden files,
    `__MACOSX`, folders named `masks` and nested duplicates are skipped. If a data set restarts patient numbers in its
    test folder, these patients get the prefix `test/`.

    Args:
        source: folder, or `.csv`, `.tsv` or `.parquet` file with the columns path (relative to the file), label
            (normal, pneumonia, bacterial or viral) and optionally subtype, patient and split.

    Raises:
        CollectionError: if the source does not exist or contains no radiograph.
    """
    source = Path(source)
    if not source.exists():
        raise CollectionError(f"{source} does not exist; {_LAYOUT}")
    if source.is_file() and source.suffix.lower() not in SUFFIXES:
        raise CollectionError(f"{source} is a file; {_LAYOUT}")
    rows, skipped = _list_folder(source) if source.is_dir() else _list_manifest(source)
    with ThreadPoolExecutor() as pool:
        digests = list(track(pool.map(_digest, rows), "Listing radiographs", total=len(rows)))
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
        raise CollectionError(f"no radiograph with a class found in {source}{format_skipped(skipped)}\n{_LAYOUT}")
    if copies:
        log.info("%d nested duplicates (same folders, name and bytes) were skipped", copies)
    # Plain Python strings: with pyarrow, pandas strings do not accept paths that are not UTF-8.
    table = pd.DataFrame(list(kept.values()), columns=COLUMNS, dtype=object)
    return Collection(table, pd.DataFrame(skipped, columns=["name", "reason"]))


def format_skipped(skipped: Iterable[Mapping[Any, str]]) -> str:
    """Return the first five skipped files with their reasons, one per line, for an error message."""
    return "".join(f"\n    {entry['name']}: {entry['reason']}" for entry in islice(skipped, 5))


def _digest(row: Mapping[str, str]) -> tuple[str, str]:
    """Return the SHA-256 of a file and an empty reason, or an empty hash and the reason why it cannot be read."""
    path = Path(row["path"])
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "", "a folder, pipe or device, not a file"  # reading a pipe could block forever
        return hash_file(path), ""
    except FileNotFoundError:
        return "", "the file does not exist (or is a broken link)"
    except OSError as error:
        return "", f"the file cannot be opened: {error.strerror}"


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()

    def warn(error: OSError) -> None:
        log.warning("%s cannot be listed: %s", printable_name(error.filename), error.strerror)

    for folder, folders, files in os.walk(root, onerror=warn, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name.lower() not in _IGNORED_FOLDERS and name[0] != ".")
        disguised = [name for name in folders if Path(name).suffix.lower() in EXTENSIONS]
        yield from (Path(folder, name) for name in sorted((*files, *disguised)) if name[0] != ".")


def _find_split(name: str) -> str:
    """Return the split that a folder or a table cell names, in any case; empty for another name.

    Example:
        >>> _find_split("Test Set"), _find_split("validate"), _find_split("holdout")
        ('test', 'val', '')
    """
    return _SPLITS.get(re.sub(r"[ _-]", "", name.lower()), "")


def _list_folder(root: Path) -> tuple[Rows, Rows]:
    rows, skipped, unknown = [], [], 0
    others: Counter[str] = Counter()  # images in folders that are no class
    for path in sorted(_walk(root), key=lambda path: (len(path.parts), path)):
        folders = list(reversed(path.relative_to(root.parent).parts[:-1]))
        labels = next((_CLASSES[part.lower()] for part in folders if part.lower() in _CLASSES), None)
        name = printable_name(path.relative_to(root))
        is_image = path.suffix.lower() in EXTENSIONS
        if labels is None:
            if is_image:
                others[folders[0]] += 1
                skipped.append({"name": name, "reason": f"folder {folders[0]!r} is no class; {_EXPECTED_CLASSES}"})
            continue
        if not is_image:
            skipped.append({"name": name, "reason": f"extension {path.suffix!r}; expected .jpeg, .jpg or .png"})
            continue
        parsed = parse_name(path.name)
        unknown += parsed is None
        split = next(filter(None, map(_find_split, folders)), "")
        rows.append(_make_row(path, name, labels, parsed, split))
    _check_splits(rows)
    for folder, count in others.items():
        log.warning("left out: %d images in the folder %r, which is no class; %s", count, folder, _EXPECTED_CLASSES)
    if unknown:
        log.warning("%d file names contain no patient; each of these images counts as a separate patient", unknown)
    return rows, skipped


def _check_splits(rows: Rows) -> None:
    """Make sure that either all images or none are in a folder of a split.

    Raises:
        CollectionError: naming the folders of the others.
    """
    outside = sorted({str(Path(row["name"]).parents[1]) for row in rows if not row["split"] and row["name"].count("/")})
    if outside and any(row["split"] for row in rows):
        places = ", ".join("the folder itself" if place == "." else place for place in outside)
        raise CollectionError(
            f"some images are in folders of splits, but those in {places} are not; expected all in folders named "
            f"{', '.join(_SPLIT_NAMES)}, or none. Rename or move these folders"
        )


def _make_row(path: Path, name: str, labels: tuple[str, str], parsed: ParsedName | None, split: str) -> dict[str, str]:
    label, subtype = labels
    patient = name
    if parsed is not None:
        if subtype == "unknown" and parsed.subtype != "normal":
            subtype = parsed.subtype
        patient = f"test/{parsed.patient}" if parsed.renumbered and split == "test" else parsed.patient
    return {"path": str(path), "name": name, "split": split, "label": label, "subtype": subtype, "patient": patient}


def _read_splits(manifest: Path, entries: Rows) -> dict[str, str]:
    """Return the split that each text of the column `split` names; one text for all images names none.

    Raises:
        CollectionError: if some texts name no split.
    """
    splits = {text: _find_split(text) for text in dict.fromkeys(entry.get("split", "") for entry in entries)}
    others = [text for text, split in splits.items() if text and not split]
    if others and len(splits) > 1:
        raise CollectionError(
            f"{manifest}: the column split has {', '.join(others)}; expected {', '.join(_SPLIT_NAMES)} or empty cells"
        )
    for text in others:
        log.info("all images have the split %r, which is read as no split", text)
    return splits


def _list_manifest(manifest: Path) -> tuple[Rows, Rows]:
    entries = read_manifest(manifest)
    splits = _read_splits(manifest, entries)
    check_labels(manifest, [entry for entry in entries if entry["label"].lower() in _CLASSES])
    rows: Rows = []
    skipped: Rows = []
    for entry in entries:
        name = printable_name(entry["path"])
        labels = _CLASSES.get(entry["label"].lower())
        if labels is None:
            skipped.append({"name": name, "reason": f"label {entry['label']!r}; {_EXPECTED_CLASSES}"})
            continue
        if labels[1] == "unknown":
            labels = (labels[0], _CLASSES.get(entry.get("subtype", "").lower(), labels)[1])
        path = find_image(manifest, entry["path"])
        row = _make_row(path, name, labels, parse_name(path.name), splits[entry.get("split", "")])
        rows.append({**row, "patient": entry.get("patient") or row["patient"]})
    return rows, skipped
