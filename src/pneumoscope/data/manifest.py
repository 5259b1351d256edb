"""Tables of image files with their labels, as CSV, TSV or Parquet."""

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoscope.errors import CollectionError
from pneumoscope.io.read import open_regular
from pneumoscope.labels import fold_name
from pneumoscope.progress import log

SUFFIXES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
_SEPARATORS = ",;\t|"

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Manifest:
    """A table of texts.

    Attributes:
        path: its file.
        columns: names of the columns, as written.
        rows: one `{column: text}` per row, without surrounding space; empty texts for missing cells.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Rows

    def find(self, *names: str) -> str | None:
        """Return the first of these columns, in any case and with spaces or `_`; None if there is none of them."""
        columns = {fold_name(column): column for column in reversed(self.columns)}
        return next((columns[fold_name(name)] for name in names if fold_name(name) in columns), None)

    def require(self, name: str) -> str:
        """Return the column of a name.

        Raises:
            CollectionError: if there is none.
        """
        column = self.find(name)
        if column is None:
            found = ", ".join(self.columns) or "no columns"
            raise CollectionError(f"{self.path} has no column {name!r}; it has {found}")
        return column


def is_manifest(path: Path) -> bool:
    """Return whether a file has the name of a table."""
    return path.name.lower().endswith(SUFFIXES)


def read_manifest(path: Path) -> Manifest:
    """Read a table.

    The separator of a text file is the one that its first line contains most often: comma, semicolon, tab or bar. A
    byte order mark, Windows line ends and empty cells at the end of a row are accepted.

    Raises:
        CollectionError: if the file is no table, or a row has too many cells.
    """
    try:
        columns, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_text(path)
    except UnicodeDecodeError:
        raise CollectionError(f"{path} is no UTF-8 text; save the table as UTF-8 or Parquet") from None
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise CollectionError(f"{path} cannot be read as a table: {error}") from None
    return Manifest(path, tuple(columns), rows)


def join_manifests(manifest: Manifest, names: tuple[str, ...]) -> Manifest:
    """Return the rows of a table joined with those of the tables beside it, by their common columns.

    A row that matches several rows is repeated; a row that matches none is left out.

    Raises:
        CollectionError: if a table is missing.
    """
    table = pd.DataFrame(manifest.rows, columns=manifest.columns)
    for name in names:
        paths = [manifest.path.with_name(name + end) for end in ("", ".gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise CollectionError(
                f"{paths[0]} does not exist; expected it beside {manifest.path.name}, whose images it lists"
            )
        other = read_manifest(path)
        joined = table.merge(pd.DataFrame(other.rows, columns=other.columns))
        log.info("%s: %d rows joined with %s, %d rows now", manifest.path.name, len(table), path.name, len(joined))
        table = joined
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]
    return Manifest(manifest.path, tuple(table.columns), rows)


def _read_text(path: Path) -> tuple[list[str], Rows]:
    with (
        open_regular(path) as stream,
        gzip.open(stream) if path.suffix.lower() == ".gz" else stream as plain,
        io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as file,
    ):
        header = file.readline()
        separator = max(_SEPARATORS, key=header.count)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=separator)
        columns = [name.strip() for name in reader.fieldnames or () if name.strip()]
        rows = []
        for number, row in enumerate(reader, start=2):
            if any(cell.strip() for cell in row.pop(None, None) or ()):
                raise ValueError(f"line {number} has more cells than the first line has columns")
            rows.append({name.strip(): (cell or "").strip() for name, cell in row.items() if name.strip()})
    if separator != ",":
        log.info("%s is separated by %r", path.name, separator)
    return columns, rows


def _read_parquet(path: Path) -> tuple[list[str], Rows]:
    with open_regular(path) as stream:
        table = pd.read_parquet(stream)
    rows = [{str(name).strip(): _format_cell(cell) for name, cell in row.items()} for row in table.to_dict("records")]
    return [str(name).strip() for name in table.columns], rows


def _format_cell(cell: object) -> str:
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    if cell is None or cell != cell:  # NaN and NaT differ from themselves
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
