"""List a table: path, labels, patient and split of each image from its columns."""

import ast
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pneumoscope.data.folders import SPLIT_NAMES, find_split
from pneumoscope.data.known_sets import KnownSet, find_known_set
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.labeling import Entry, Listing, Skipped
from pneumoscope.data.listing import SUFFIXES
from pneumoscope.data.manifest import Manifest, join_manifests, read_manifest
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.labels import NEGATIVE_NAMES, fold_name
from pneumoscope.progress import log

# Usual names of columns, as `fold_name` writes them, the first found counts.
_USUAL_COLUMNS = {
    "path": (
        *("path", "image path", "filepath", "file path", "filename", "file name", "file", "image", "image index"),
        *("imageid", "image id", "dicom id"),
    ),
    "label": ("label", "labels", "class", "target", "diagnosis", "finding labels", "finding", "findings", "category"),
    "patient": ("patient", "patient id", "patientid", "subject", "subject id"),
    "split": ("split", "set", "subset", "partition"),
    "age": ("age", "patient age", "patientage"),
    "sex": ("sex", "gender", "patient sex", "patient gender", "patientsex", "patientsex dicom"),
    "view": ("view", "view position", "viewposition", "projection"),
}
_OTHER_VIEWS = {"LATERAL", "LAT", "L", "LL", "RL", "COSTAL", "EXCLUDE"}
_NUMBERS = {"0": "0", "0.0": "0", "false": "0", "1": "1", "1.0": "1", "true": "1", "-1": "-1", "-1.0": "-1"}
_NUMBERS |= {"": "", "nan": ""}

Columns = dict[str, str | None]
Labels = tuple[tuple[str, ...], tuple[str, ...]] | None  # present and uncertain; None: the cell is empty


def list_table(path: Path, options: LabelOptions) -> Listing:
    """List the images of a table.

    Labels are words or 0 and 1 in one column, one column of 0 and 1 for each finding, or several findings in one cell.
    In columns of findings, -1 (uncertain) and empty cells are unknown. Lateral views are left out.

    Raises:
        CollectionError: if the table cannot be read, lacks a column, or gives an image two labels.
    """
    manifest = read_manifest(path)
    known = find_known_set(options.data_set, columns=manifest.columns)
    if known.joined:
        manifest = join_manifests(manifest, known.joined)
    columns = _choose_columns(manifest, options, known)
    findings = _choose_label_columns(manifest, columns, options, known)
    if len(findings) > 1:
        labels = [_read_findings(row, findings, options) for row in manifest.rows]
        multi_label = True
    else:
        labels, multi_label = _read_cells(manifest, findings[0], options, known)
    names = ", ".join(f"{role} {column!r}" for role, column in columns.items() if column)
    shown = ", ".join(map(repr, findings[:5])) + (f" and {len(findings) - 5} others" if len(findings) > 5 else "")
    log.info("columns of %s: %s, labels %s", path.name, names, shown)
    by_majority = manifest.find(known.reader) is not None
    rows, labels = _merge_rows(manifest, columns["path"] or "", labels, by_majority=by_majority)
    entries, skipped = _make_entries(Manifest(path, manifest.columns, rows), columns, labels, known)
    several = findings if len(findings) > 1 else ()
    return Listing(entries, skipped, multi_label, several, known.left_out, known.name)


def _choose_columns(manifest: Manifest, options: LabelOptions, known: KnownSet) -> Columns:
    """Return the column of each role: chosen by the user, of the known data set, or with a usual name."""
    chosen = {
        "path": options.path_column or known.path,
        "patient": options.patient_column,
        "split": options.split_column,
    }
    columns = {
        role: manifest.require(name) if (name := chosen.get(role)) else manifest.find(*usual)
        for role, usual in _USUAL_COLUMNS.items()
        if role != "label"
    }
    if columns["path"] is None:
        found = ", ".join(manifest.columns) or "no columns"
        raise CollectionError(
            f"{manifest.path} has {found}; expected a column of image paths, with a name such as path, image or file "
            "name, or choose it with --path-column"
        )
    return columns


def _choose_label_columns(
    manifest: Manifest, columns: Columns, options: LabelOptions, known: KnownSet
) -> tuple[str, ...]:
    """Return the column of labels, or the columns of the findings."""
    names = options.label_column or known.labels
    if names:
        return tuple(map(manifest.require, names))
    usual = manifest.find(*_USUAL_COLUMNS["label"])
    if usual is not None:
        return (usual,)
    used = set(columns.values())
    findings = []
    for column in manifest.columns:
        values = {row[column].lower() for row in manifest.rows}
        if column not in used and not values.issubset(("", "nan")) and values.issubset(_NUMBERS):
            findings.append(column)
    if not findings:
        raise CollectionError(
            f"{manifest.path} has {', '.join(manifest.columns)}; expected a column of labels, such as label, class "
            "or finding, or one column of 0 and 1 for each finding, or choose them with --label-column"
        )
    return tuple(findings)


def _read_findings(row: dict[str, str], findings: Sequence[str], options: LabelOptions) -> Labels:
    """Return present and uncertain findings; if the row says that there is none, empty cells are absent."""
    values = {column: _read_number(row[column], options) for column in findings}
    faulty = next((column for column, value in values.items() if value not in ("0", "1", "-1", "")), None)
    if faulty is not None:
        raise CollectionError(f"the column {faulty!r} has {row[faulty]!r}; expected 1, 0, -1 or an empty cell")
    negatives = {*NEGATIVE_NAMES, fold_name(options.negative or "")}
    is_negative = any(value == "1" and fold_name(name) in negatives for name, value in values.items())
    unknown = ("-1",) if is_negative else ("-1", "")
    present, uncertain = (
        tuple(name for name, value in values.items() if value in wanted) for wanted in (("1",), unknown)
    )
    return present, uncertain


def _read_number(cell: str, options: LabelOptions) -> str:
    """Return `0`, `1`, `-1` (uncertain) or an empty text, as mapped; other texts are unchanged."""
    text = _NUMBERS.get(cell.lower(), cell)
    if text in ("-1", ""):
        return options.map.get("-1" if text else "empty", text)
    return text


def _read_cells(manifest: Manifest, column: str, options: LabelOptions, known: KnownSet) -> tuple[list[Labels], bool]:
    """Return the labels in one column, and whether a cell can hold several."""
    cells = ["" if row[column].lower() == "nan" else row[column] for row in manifest.rows]
    names = dict(known.names)
    if any(cells) and all(cell.lower() in _NUMBERS for cell in cells):
        cells = [_read_number(cell, options).replace("-1", "") for cell in cells]
        if not names and fold_name(column) not in _USUAL_COLUMNS["label"]:
            names = {"0": f"no {column}", "1": column}
        names = {old: new for old, new in names.items() if old not in options.map}
    separator = _choose_separator(cells)
    multi_label = options.multi_label or separator is not None or known.multi_label
    labels: list[Labels] = []
    for cell in cells:
        parts = [part for part in (_split_cell(cell, separator) if multi_label else [cell]) if part]
        labels.append((tuple(names.get(part, part) for part in parts), ()) if parts else None)
    return labels, multi_label


def _choose_separator(cells: Iterable[str]) -> str | None:
    """Return what separates several labels in a cell: a bar, a semicolon, the comma of a list, or a comma.

    A comma counts only if all parts also stand alone: names of classes may contain one.
    """
    cells = {cell for cell in cells if cell}
    for separator in "|;":
        if any(separator in cell for cell in cells):
            return separator
    if any(cell[0] == "[" and cell[-1] == "]" for cell in cells):
        return "["
    parts = {part.strip() for cell in cells if "," in cell for part in cell.split(",")}
    return "," if parts and parts <= cells else None


def _split_cell(cell: str, separator: str | None) -> list[str]:
    if separator != "[":
        return [part.strip() for part in (cell.split(separator) if separator else [cell])]
    try:
        values = ast.literal_eval(cell) if cell.startswith("[") else [cell]
    except (SyntaxError, ValueError):
        values = cell.strip("[]").split(",")
    return [str(value).strip() for value in values]


def _merge_rows(
    manifest: Manifest, path_column: str, labels: list[Labels], *, by_majority: bool
) -> tuple[list[dict[str, str]], list[Labels]]:
    """Return one row per image."""
    rows_of: dict[str, list[int]] = {}
    for number, row in enumerate(manifest.rows):
        rows_of.setdefault(row[path_column], []).append(number)
    merged: list[Labels] = []
    contradictory = {}
    for path, numbers in rows_of.items():
        found = [label for number in numbers if (label := labels[number]) is not None]
        if by_majority:
            votes = Counter(name for present, _ in found for name in present)
            merged.append((tuple(name for name, count in votes.items() if 2 * count > len(numbers)), ()))
            continue
        merged.append(found[0] if found else None)
        if path and len({tuple(tuple(sorted(map(fold_name, names))) for names in label) for label in found}) > 1:
            contradictory[path] = [" and ".join(present) or "nothing" for present, _ in found]
    if contradictory:
        path, texts = next(iter(contradictory.items()))
        count = f"{len(contradictory)} image{'s' * (len(contradictory) > 1)}"
        raise CollectionError(
            f"{manifest.path}: {count} with several labels, such as {path}: {', '.join(texts)}. Keep one row per image"
        )
    if len(rows_of) < len(manifest.rows):
        how = "by the majority of readers" if by_majority else "all with the same labels"
        log.info("%d rows of %d images were merged, %s", len(manifest.rows), len(rows_of), how)
    return [manifest.rows[numbers[0]] for numbers in rows_of.values()], merged


def _make_entries(
    manifest: Manifest, columns: Columns, labels: list[Labels], known: KnownSet
) -> tuple[list[Entry], Skipped]:
    splits = _read_splits(manifest, columns["split"])
    tests = _read_test_list(manifest.path, known)
    images = ImageFinder(manifest.path, known)
    entries: list[Entry] = []
    skipped: Skipped = []
    for row, label in zip(manifest.rows, labels, strict=True):
        cell = {role: row[column] if column else "" for role, column in columns.items()}
        name = printable_name(cell["path"])
        views = (*(row[column] for column in known.views), cell["view"])
        view = next(filter(None, views), "").upper()
        if label is None or not cell["path"] or view in _OTHER_VIEWS:
            reason = "no path" if not cell["path"] else "no label" if label is None else f"view {view}, not frontal"
            skipped.append({"name": name, "reason": reason})
            continue
        patient = cell["patient"] or _search(known.patient, cell["path"])
        split = splits[cell["split"]] or find_split(_search(known.split, cell["path"]))
        if tests:
            split = "test" if cell["path"] in tests else "train"
        age = read_age(cell["age"]) or _count_years(row, known)
        sex = cell["sex"][:1].upper()
        entries.append(Entry(images.find(cell["path"]), name, *label, patient, split, age, sex, view))
    return entries, skipped


class ImageFinder:
    """Find the images of a table.

    Paths are relative to the folder of the table, or absolute. A path with backslashes that does not exist is read as a
    Windows path. Images of a known data set are also found by their names, with or without a suffix, in any folder.
    """

    def __init__(self, table: Path, known: KnownSet) -> None:
        self._folder = table.parent
        self._known = known
        self._by_name: dict[str, Path | None] | None = None

    def find(self, text: str) -> Path:
        """Return the path of an image; it may not exist."""
        texts = [text, text.replace("\\", "/")]
        roots = [self._folder, self._folder / self._known.root]
        paths = [root / name for root in roots for name in texts]
        found = next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113  is_file fails on long names
        if found is None and self._known.name:
            found = self._list_names(roots[-1]).get(Path(texts[1]).name)
        return found or paths["\\" in text]

    def _list_names(self, root: Path) -> dict[str, Path | None]:
        """Return the images below a folder by name and by stem; None if several have the same."""
        if self._by_name is None:
            self._by_name = {}
            for path in root.rglob("*"):
                if path.suffix.lower() in SUFFIXES:
                    for key in (path.name, path.stem):
                        self._by_name[key] = None if key in self._by_name else path
        return self._by_name


def read_age(text: str) -> str:
    """Return an age in whole years, from years or from a DICOM age string; empty for other texts.

    Example:
        >>> read_age("058Y"), read_age("18M"), read_age("7.0"), read_age("n/a")
        ('58', '1', '7', '')
    """
    match = re.fullmatch(r"(\d+)(?:\.\d+)?([YMWD]?)", text.strip().upper())
    return str(int(match[1]) // {"M": 12, "W": 52, "D": 365}.get(match[2], 1)) if match else ""


def _count_years(row: dict[str, str], known: KnownSet) -> str:
    if not known.birth:
        return ""
    date, birth = (row.get(column, "")[:4] for column in known.birth)
    return str(int(date) - int(birth)) if date.isdigit() and birth.isdigit() else ""


def _search(pattern: str, text: str) -> str:
    match = re.search(pattern, text) if pattern else None
    return match[1] if match else ""


def _read_splits(manifest: Manifest, column: str | None) -> dict[str, str]:
    """Return the split that each text of a column names; one text for all images names none."""
    texts = dict.fromkeys(row[column] for row in manifest.rows) if column else {}
    splits = {"": ""} | {text: find_split(text) for text in texts}
    others = [text for text, split in splits.items() if text and not split]
    if others and len(texts) > 1:
        raise CollectionError(
            f"{manifest.path}: the column {column} has {', '.join(others)}; expected {', '.join(SPLIT_NAMES)} or empty "
            "cells"
        )
    for text in others:
        log.info("all images have the split %r, which is read as no split", text)
    return splits


def _read_test_list(table: Path, known: KnownSet) -> set[str]:
    """Return the names of the test images of a known data set; empty if it has no such list."""
    if not known.test_list:
        return set()
    path = table.with_name(known.test_list)
    if not path.is_file():
        log.info("%s is not beside %s: the images have no splits", known.test_list, table.name)
        return set()
    return set(path.read_text(encoding="utf-8").split())
