"""Predictions as a table on disk, for the user only. A stopped run can be resumed.

Each finished row is appended to `FILE.partial` as one line of JSON. At the end, `FILE` is written from it in one step.
A killed run leaves the partial file; at most its last line is incomplete. The partial file is locked, so that a second
run cannot write the same table. Of several rows of one path, the last counts.
"""

import csv
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.reading import IDENTITY_COLUMNS
from pneumoscope.io.write import atomic_write, lock_file
from pneumoscope.progress import log

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = (".csv", ".parquet", ".jsonl")
FIRST_COLUMNS = ("path", "error", "decision", "operating_point")
LAST_COLUMNS = (
    *("anomaly_score", "anomaly_percentile", "anomalous", "in_distribution", "reason", "warnings", "neighbors"),
    *("width", "height", *IDENTITY_COLUMNS, "heatmap", "dicom_files", "model"),
)

ROW_GROUP = 10_000
# Columns of other types than text; the probabilities are numbers, too.
_NUMBERS = ("anomaly_score", "anomaly_percentile", "age_years")
_INTEGERS = ("width", "height")
_BOOLEANS = ("anomalous", "in_distribution")
_JSON = ("neighbors", "dicom_files")
_WORDS = ("warnings",)  # separated by spaces
# A spreadsheet program runs a cell that begins with one of these as a formula. An apostrophe marks it as text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'=", "'+", "'-", "'@")

Row = dict[str, Any]


def list_columns(scored: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a table of readings with the probabilities of `LabelSet.scored`.

    Example:
        >>> list_columns(["healthy"])[3:8]
        ('operating_point', 'p_healthy', 'p_healthy_low', 'p_healthy_high', 'anomaly_score')
    """
    return (*FIRST_COLUMNS, *(f"p_{name}{end}" for name in scored for end in ("", "_low", "_high")), *LAST_COLUMNS)


def make_schema(scored: Iterable[str]) -> "pa.Schema":
    """Return the columns of `list_columns` with their types, for Arrow and Parquet."""
    import pyarrow as pa

    case = pa.struct([("name", pa.string()), ("label", pa.string()), ("distance", pa.float64())])
    types = {name: pa.int64() for name in _INTEGERS} | {name: pa.bool_() for name in _BOOLEANS}
    types |= {"neighbors": pa.list_(case), "warnings": pa.list_(pa.string()), "dicom_files": pa.list_(pa.string())}
    fields = [
        (name, pa.float64() if _is_number(name) else types.get(name, pa.string())) for name in list_columns(scored)
    ]
    return pa.schema(fields, metadata={"notice": RESEARCH_USE_ONLY})


class Table:
    """The rows of one output file. They are kept on disk, not in memory.

    Attributes:
        path: path of the finished file: `.csv`, `.parquet` or `.jsonl`.
        columns: its columns.
        done: values of the column `path` in the finished rows.
    """

    def __init__(self, path: Path, *, resume: bool, head: Row, scored: Sequence[str], retry: bool = True) -> None:
        """Open a table.

        Args:
            path: path of the file to write.
            resume: whether to continue an existing file.
            head: `model` and `operating_point`, which all rows share.
            scored: names with a probability, see `list_columns`.
            retry: whether rows with an error are not `done`.

        Raises:
            PneumoscopeError: if the format is unknown, if the file exists and `resume` is false, if its rows have
                another model or operating point, or if another process writes it.
        """
        _check_format(path)
        self.path, self.scored = path, scored
        self.done: set[str] = set()
        self._last: dict[str, int] = {}  # number of the last row of each path
        self._count = 0
        self._partial = path.with_name(path.name + ".partial")
        existing = [str(file) for file in (path, self._partial) if file.exists()]
        if existing and not resume:
            raise PneumoscopeError(
                f"{' and '.join(existing)} exists already; expected a new file. Add --resume, give another --output, "
                "or delete it."
            )
        continued = self._partial.exists()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The rows are about patients: only the user may read them.
        self._stream = os.fdopen(
            os.open(self._partial, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+", encoding="utf-8"
        )
        self._lock()
        try:
            self._continue(head, retry, _read_lines(self._partial) if continued else iter(()))
            if path.exists() and not self._count:
                self._continue(head, retry, read_table(path), copy=True)
        except PneumoscopeError:
            self._stream.close()
            if not continued:
                self._partial.unlink()
            raise

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return list_columns(self.scored)

    @property
    def paths(self) -> Collection[str]:
        """Values of the column `path`, also of rows with an error."""
        return self._last.keys()

    def add(self, row: Row) -> None:
        """Append a row to the partial file."""
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()
        self._note(row)
        self.done.add(row["path"])

    def finish(self) -> None:
        """Write the finished file and delete the partial one."""
        rows = (row for number, row in enumerate(_read_lines(self._partial)) if self._last[row["path"]] == number)
        write_table(rows, self.path, self.scored)
        self._partial.unlink()
        self._stream.close()

    def _lock(self) -> None:
        try:
            free = lock_file(self._stream, wait=False)
        except (ImportError, OSError) as error:
            log.warning("%s cannot be locked (%s); do not write it in two processes at once", self._partial, error)
            return
        if not free:
            self._stream.close()
            raise PneumoscopeError(f"another process writes {self.path}; wait for it, or give another --output")

    def _note(self, row: Row) -> None:
        self._last[row["path"]] = self._count
        self._count += 1

    def _continue(self, head: Row, retry: bool, rows: Iterator[Row], *, copy: bool = False) -> None:
        """Note finished rows, and copy them to the partial file or remove its incomplete last line."""
        size = 0
        for row in rows:
            changes = [
                f"{name} was {row.get(name)!r} and is {value!r} now"
                for name, value in head.items()
                if row.get(name) != value
            ]
            if changes:
                raise PneumoscopeError(
                    f"{self.path} contains readings with other settings: {', '.join(changes)}. Give another --output."
                )
            if copy:
                self._stream.write(json.dumps(row) + "\n")
            size += len(json.dumps(row)) + 1
            self._note(row)
            (self.done.discard if retry and row["error"] else self.done.add)(row["path"])
        if not copy:
            self._stream.truncate(size)
        self._stream.flush()


def write_table(rows: Iterable[Row], path: Path, scored: Sequence[str]) -> None:
    """Write a table in one atomic step, for the user only.

    Args:
        rows: values of all columns by name.
        path: file to write: `.csv`, `.parquet` or `.jsonl`.
        scored: names with a probability, see `list_columns`.

    Raises:
        PneumoscopeError: if the format is unknown.
    """
    _check_format(path)
    with atomic_write(path, private=True) as whole:
        if path.suffix == ".parquet":
            _write_parquet(rows, whole, scored)
        else:
            {".csv": _write_csv, ".jsonl": _write_lines}[path.suffix](rows, whole, list_columns(scored))


def _check_format(path: Path) -> None:
    if path.suffix not in FORMATS:
        raise PneumoscopeError(f"{path} ends with {path.suffix!r}; expected one of {', '.join(FORMATS)}")


def read_table(path: Path) -> Iterator[Row]:
    """Yield the rows of a finished file.

    Raises:
        PneumoscopeError: if the file is not a table of readings.
    """
    read = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_lines}[path.suffix]
    try:
        for row in read(path):
            _check_columns(path, row)
            yield row
    except PneumoscopeError:
        raise
    except Exception as error:  # pyarrow, csv and json raise different classes
        raise PneumoscopeError(f"{path} is not a table of readings ({error}); give another --output") from None


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    others = {name for name in columns if not name.startswith("p_")}
    if others != {*FIRST_COLUMNS, *LAST_COLUMNS}:
        expected = ", ".join(list_columns(["<class>"]))
        raise PneumoscopeError(f"{path} has the columns {', '.join(columns)}; expected {expected}")


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                return
            if line.endswith("\n"):
                yield row


def _write_lines(rows: Iterable[Row], path: Path, _: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def _write_csv(rows: Iterable[Row], path: Path, columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({name: _format(name, value) for name, value in row.items()} for row in rows)


def _format(name: str, value: Any) -> Any:
    if name in _WORDS:
        return " ".join(value)
    if name in _JSON:
        return json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            yield {name: _parse(name, text) for name, text in row.items()}


def _parse(name: str, text: str) -> Any:
    if name in _WORDS:
        return text.split()
    if name in _JSON:
        return json.loads(text or "[]")
    if text == "":
        return None
    if name in _BOOLEANS:
        return text == "True"
    if name in _INTEGERS:
        return int(text)
    if _is_number(name):
        return float(text)
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _is_number(column: str) -> bool:
    return column.startswith("p_") or column in _NUMBERS


def _write_parquet(rows: Iterable[Row], path: Path, scored: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema, remaining = make_schema(scored), iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(islice(remaining, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(part, schema))


def _read_parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(ROW_GROUP):
            yield from part.to_pylist()
