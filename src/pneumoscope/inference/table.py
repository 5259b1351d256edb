"""Predictions as a table on disk, for the user only. A stopped run can be resumed.

Each finished row is appended to `FILE.partial` as one line of JSON. At the end, `FILE` is written from it in one step.
A killed run leaves the partial file; at most its last line is incomplete.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.write import atomic_write

FORMATS = (".csv", ".parquet", ".jsonl")
FIRST_COLUMNS = ("path", "error", "decision", "operating_point")
LAST_COLUMNS = ("anomaly_score", "anomaly_percentile", "in_distribution", "reason", "neighbors", "heatmap", "model")

ROW_GROUP = 10_000

Row = dict[str, Any]


def list_columns(scored: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a table of readings with the probabilities of `LabelSet.scored`.

    Example:
        >>> list_columns(["healthy", "covid"])[3:7]
        ('operating_point', 'p_healthy', 'p_covid', 'anomaly_score')
    """
    return (*FIRST_COLUMNS, *(f"p_{name}" for name in scored), *LAST_COLUMNS)


class Table:
    """The rows of one output file. They are kept on disk, not in memory.

    Attributes:
        path: path of the finished file: `.csv`, `.parquet` or `.jsonl`.
        columns: its columns.
        done: values of the column `path` in the finished rows.
    """

    def __init__(self, path: Path, *, resume: bool, head: Row, scored: Iterable[str]) -> None:
        """Open a table.

        Args:
            path: path of the file to write.
            resume: whether to continue an existing file.
            head: `model` and `operating_point`, which all rows share.
            scored: names with a probability, see `list_columns`.

        Raises:
            PneumoscopeError: if the format is unknown, if the file exists and `resume` is false, or if its rows have
                another model or operating point.
        """
        if path.suffix not in FORMATS:
            raise PneumoscopeError(f"{path} ends with {path.suffix!r}; expected one of {', '.join(FORMATS)}")
        self.path, self.columns = path, list_columns(scored)
        self.done: set[str] = set()
        self._partial = path.with_name(path.name + ".partial")
        existing = [str(file) for file in (path, self._partial) if file.exists()]
        if existing and not resume:
            raise PneumoscopeError(
                f"{' and '.join(existing)} exists already; expected a new file. Add --resume, give another --output, "
                "or delete it."
            )
        if self._partial.exists():
            self._copy(_read_lines(self._partial), head)
        else:
            self._copy(read_table(path) if path.exists() else iter(()), head)
        self._stream = self._partial.open("a", encoding="utf-8")

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, row: Row) -> None:
        """Append a row to the partial file."""
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()
        self.done.add(row["path"])

    def finish(self) -> None:
        """Write the finished file and delete the partial one."""
        self._stream.close()
        write = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_lines}[self.path.suffix]
        with atomic_write(self.path, private=True) as whole:
            write(_read_lines(self._partial), whole, self.columns)
        self._partial.unlink()

    def _copy(self, rows: Iterator[Row], head: Row) -> None:
        """Copy finished rows to the partial file, without an incomplete last line."""

        def check() -> Iterator[Row]:
            for row in rows:
                changes = [
                    f"{name} was {row.get(name)!r} and is {value!r} now"
                    for name, value in head.items()
                    if row.get(name) != value
                ]
                if changes:
                    raise PneumoscopeError(
                        f"{self.path} contains readings with other settings: {', '.join(changes)}. "
                        "Give another --output."
                    )
                self.done.add(row["path"])
                yield row

        with atomic_write(self._partial, private=True) as fresh:
            _write_lines(check(), fresh, self.columns)


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
                yield json.loads(line)
            except ValueError:
                return


def _write_lines(rows: Iterable[Row], path: Path, _: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def _write_csv(rows: Iterable[Row], path: Path, columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({**row, "neighbors": json.dumps(row["neighbors"])} for row in rows)


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            yield {name: _parse(name, text) for name, text in row.items()}


def _parse(name: str, text: str) -> Any:
    if name == "neighbors":
        return json.loads(text)
    if text == "":
        return None
    if name == "in_distribution":
        return text == "True"
    return float(text) if _is_number(name) else text


def _is_number(column: str) -> bool:
    return column.startswith(("p_", "anomaly_"))


def _write_parquet(rows: Iterable[Row], path: Path, columns: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    case = pa.struct([("name", pa.string()), ("label", pa.string()), ("distance", pa.float64())])
    types = {"in_distribution": pa.bool_(), "neighbors": pa.list_(case)}
    fields = [(name, pa.float64() if _is_number(name) else types.get(name, pa.string())) for name in columns]
    schema = pa.schema(fields, metadata={"notice": RESEARCH_USE_ONLY})
    remaining = iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(islice(remaining, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(part, schema))


def _read_parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(ROW_GROUP):
            yield from part.to_pylist()
