"""Manifests: tables of image files with their labels, as CSV, TSV or Parquet."""

import csv
from pathlib import Path

from pneumoscope.errors import CollectionError
from pneumoscope.progress import log

SUFFIXES = (".csv", ".tsv", ".parquet")
_SEPARATORS = ",;\t|"


def read_manifest(manifest: Path) -> list[dict[str, str]]:
    """Read a table as one `{column: text}` per row; column names are lower case, and all texts are stripped.

    The separator of a text file is the one that its first line contains most often: comma, semicolon, tab or bar. A
    byte order mark, Windows line ends and empty cells at the end of a row are accepted.

    Raises:
        CollectionError: if the file is no table, lacks the columns `path` or `label`, or a row has too many cells.
    """
    try:
        rows = _read_parquet(manifest) if manifest.suffix.lower() == ".parquet" else _read_text(manifest)
    except (OSError, ValueError, csv.Error) as error:
        raise CollectionError(f"{manifest} cannot be read as a table: {error}") from None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if missing := [name for name in ("path", "label") if name not in columns]:
        found = ", ".join(columns) or "no columns"
        raise CollectionError(
            f"{manifest} has {found}; expected the columns path and label. Missing: {', '.join(missing)}"
        )
    return rows


def find_image(manifest: Path, text: str) -> Path:
    """Return the path of an image, relative to the folder of the manifest unless it is absolute.

    A path with backslashes that does not exist is read as a Windows path.
    """
    path = manifest.parent / text
    if "\\" in text and not path.exists():
        return manifest.parent / text.replace("\\", "/")
    return path


def check_labels(manifest: Path, rows: list[dict[str, str]]) -> None:
    """Make sure that no image has two labels.

    Raises:
        CollectionError: with the number of such images and the first of them.
    """
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["path"], set()).add(row["label"].lower())
    contradictory = {path: sorted(names) for path, names in labels.items() if len(names) > 1}
    if contradictory:
        path, names = next(iter(contradictory.items()))
        count = f"{len(contradictory)} image{'s' * (len(contradictory) > 1)}"
        raise CollectionError(
            f"{manifest}: {count} with several labels, such as {path}: {', '.join(names)}. Keep one row per image"
        )


def _read_text(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        separator = max(_SEPARATORS, key=header.count)
        file.seek(0)
        rows = []
        for number, row in enumerate(csv.DictReader(file, delimiter=separator, restkey=""), start=2):
            if any(cell.strip() for cell in row.pop("", None) or ()):
                raise ValueError(f"line {number} has more cells than the first line has columns")
            rows.append({name.strip().lower(): (cell or "").strip() for name, cell in row.items()})
    if separator != ",":
        log.info("%s is separated by %r", manifest.name, separator)
    return rows


def _read_parquet(manifest: Path) -> list[dict[str, str]]:
    import pandas as pd

    table = pd.read_parquet(manifest)
    text = table.astype(object).where(table.notna(), "").astype(str)
    return [{str(name).strip().lower(): cell.strip() for name, cell in row.items()} for row in text.to_dict("records")]
