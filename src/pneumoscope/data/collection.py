"""Collections: list a folder or a table with the class, patient and split of each file."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from pneumoscope.data.dicom import is_dicom, quiet_pydicom, read_header
from pneumoscope.data.folders import list_folder
from pneumoscope.data.kermany import find_series, parse_name
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.labeling import Entry, Labeled, Skipped, assign_labels
from pneumoscope.data.manifest import is_manifest
from pneumoscope.data.source import hash_file
from pneumoscope.data.tables import list_table, read_age
from pneumoscope.errors import CollectionError, ImageError
from pneumoscope.io.storage import fetch_data
from pneumoscope.labels import LabelSet
from pneumoscope.progress import log, track

COLUMNS = [
    *("path", "name", "sha256", "label", "uncertain", "patient", "split"),
    *("age", "sex", "view", "modality", "body_part"),
]

_LAYOUT = """expected a folder such as
    images/train/normal/a.png
    images/test/tuberculosis/b.dcm
(split folders train, val, test are optional; one folder for each class, with any name),
or a table (CSV, TSV, Parquet) with a column of paths and one or more columns of labels."""
_MIN_CONSTANT = 10
_REASONS_LISTED = 20


@dataclass(frozen=True)
class Collection:
    """Listed files; no image is decoded yet.

    Attributes:
        table: one row per file, all columns str: `path`; `name`, the path relative to the source, with `/`; `sha256`;
            `label`, a class, or a group if the class is unknown; `uncertain`, empty; `patient`; `split`, `train`,
            `val`, `test` or empty; `age` in years, `sex`, `view`, `modality` and `body_part`, empty if unknown. In a
            multi-label set, `label` holds the present findings and `uncertain` those of unknown label, joined by `|`.
        skipped: `name` and `reason` of each skipped file.
        label_set: the classes.
        known_set: name of the known data set, see `KNOWN_SETS`; empty for another one.
    """

    table: pd.DataFrame
    skipped: pd.DataFrame
    label_set: LabelSet
    known_set: str = ""


def name_series(names: Iterable[str]) -> np.ndarray:
    """Return `(n,)` str, the series of each file name; empty if the name has none.

    Example:
        >>> name_series(["a/IM-0115-0001.jpeg", "a/NORMAL2-IM-1427-0001.jpeg", "b/person1_virus_6.jpeg"]).tolist()
        ['IM', 'NORMAL2-IM', 'person']
    """
    return np.array([find_series(name.rpartition("/")[2]) for name in names], dtype=str)


def scan_collection(source: str | os.PathLike[str], *, options: LabelOptions | None = None) -> Collection:
    """List the radiographs of a folder or of a table.

    See `list_folder` and `list_table` for the layouts, and `LabelOptions` for what can be chosen. Patients come from
    the table, the file names of known data sets, the DICOM header, or the folder below the class; otherwise, each image
    counts as a separate patient. Nested duplicates are skipped. If a data set restarts patient numbers in its test
    folder, these patients get the prefix `test/`.

    Args:
        source: folder, or `.csv`, `.tsv` or `.parquet` file; or the URL of one, see `fetch_data`.
        options: how to read the labels.

    Raises:
        CollectionError: if the source does not exist or contains no radiograph.
        LabelError: if its class names are not usable.
    """
    source, options = fetch_data(os.fspath(source)), options or LabelOptions()
    if not source.exists():
        raise CollectionError(f"{source} does not exist; {_LAYOUT}")
    if source.is_file() and not is_manifest(source):
        raise CollectionError(f"{source} is a file; {_LAYOUT}")
    listing = list_folder(source, options) if source.is_dir() else list_table(source, options)
    labeled, skipped, label_set = assign_labels(listing, options) if listing.entries else ([], [], None)
    rows, unreadable = _make_rows(labeled, by_file_name=source.is_dir())
    skipped = [*listing.skipped, *skipped, *unreadable]
    if not rows or label_set is None:
        raise CollectionError(f"no radiograph with a class found in {source}{format_skipped(skipped)}\n{_LAYOUT}")
    warn_skipped(skipped)
    # Plain Python strings: with pyarrow, pandas strings do not accept paths that are not UTF-8.
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    by_name = all(parse_name(name.rpartition("/")[2]) for name in table["name"])
    known_set = listing.known_set or ("kermany" if by_name else "")
    return Collection(table, pd.DataFrame(skipped, columns=["name", "reason"]), label_set, known_set)


def format_skipped(skipped: Iterable[Mapping[Any, str]]) -> str:
    """Return the first five skipped files with their reasons, one per line, for an error message."""
    return "".join(f"\n    {entry['name']}: {entry['reason']}" for entry in islice(skipped, 5))


def warn_skipped(skipped: Iterable[Mapping[Any, str]]) -> None:
    """Log the most frequent reasons with their numbers of files."""
    for reason, count in Counter(entry["reason"] for entry in skipped).most_common(_REASONS_LISTED):
        log.warning("left out: %d files: %s", count, reason)


def _describe(entry: Entry) -> tuple[Entry, str, str, str]:
    """Return an entry completed from its DICOM header, its SHA-256, the header's patient, and why it is unreadable."""
    try:
        if not stat.S_ISREG(entry.path.stat().st_mode):
            return entry, "", "", "a folder, pipe or device, not a file"  # reading a pipe could block forever
        digest = hash_file(entry.path)
        if not is_dicom(entry.path):
            return entry, digest, "", ""
        header = read_header(entry.path)
        with quiet_pydicom():
            words = ("PatientID", "PatientAge", "PatientSex", "ViewPosition", "Modality", "BodyPartExamined")
            patient, age, sex, view, modality, body_part = (str(header.get(word) or "").strip() for word in words)
        age, sex, view = entry.age or read_age(age), entry.sex or sex[:1], entry.view or view
        described = replace(entry, age=age, sex=sex, view=view, modality=modality, body_part=body_part)
        return described, digest, patient, ""
    except (FileNotFoundError, ValueError):  # a null byte in the name
        return entry, "", "", "the file does not exist (or is a broken link)"
    except ImageError:
        return entry, digest, "", ""  # the decoder reports it
    except OSError as error:
        return entry, "", "", f"the file cannot be opened: {error.strerror}"


def _make_rows(labeled: Labeled, by_file_name: bool) -> tuple[list[dict[str, str]], Skipped]:
    """Return one row per readable file, and the others with the reason."""
    with ThreadPoolExecutor() as pool:
        described = pool.map(_describe, (entry for entry, _, _ in labeled))
        files = list(track(described, "Listing radiographs", total=len(labeled)))
    patients = Counter(patient for _, _, patient, _ in files if patient)
    constant = len(patients) == 1 and patients.total() >= _MIN_CONSTANT
    if constant:
        log.warning("all %d DICOM files have the same PatientID, which is ignored", patients.total())
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    skipped: Skipped = []
    copies, unknown = 0, 0
    for (_, label, uncertain), (entry, digest, header_patient, reason) in zip(labeled, files, strict=True):
        key = (entry.split, label, uncertain, entry.path.name if by_file_name else entry.name, digest)
        if reason:
            skipped.append({"name": entry.name, "reason": reason})
            continue
        if key in kept:
            copies += 1
            continue
        parsed = parse_name(entry.path.name)
        patient = parsed.patient if parsed is not None else "" if constant else header_patient
        if parsed is not None and parsed.renumbered and entry.split == "test":
            patient = f"test/{patient}"
        patient = entry.patient or patient or entry.folder
        unknown += not patient
        row = {"path": str(entry.path), "name": entry.name, "sha256": digest, "label": label, "uncertain": uncertain}
        row |= {"patient": patient or entry.name, "split": entry.split, "age": entry.age}
        kept[key] = row | {name: getattr(entry, name) for name in ("sex", "view", "modality", "body_part")}
    if copies:
        log.info("%d nested duplicates (same folders, name and bytes) were skipped", copies)
    if unknown:
        log.warning("no patient is known for %d images; each of these counts as a separate patient", unknown)
    return list(kept.values()), skipped
