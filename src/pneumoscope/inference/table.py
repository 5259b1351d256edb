"""Readings as a table on disk that a killed run can go on with.

Every finished row is first written to `FILE.partial`, one JSON text a line; `FILE` itself is made of it at the end,
in one step. A run that was killed leaves the partial file, of which at most the last line is torn.
"""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError

FORMATS = (".csv", ".parquet", ".jsonl")
COLUMNS = (
    *("path", "error", "decision", "operating_point", "p_normal", "p_bacterial", "p_viral", "p_pneumonia"),
    *("anomaly_score", "anomaly_percentile", "in_domain", "reason", "neighbors", "heatmap", "model"),
)

ROW_GROUP = 10_000

Row = dict[str, Any]


class Table:
    """The rows of one output file; they stay on disk, however many there are.

    Attributes:
        path: of the finished file: `.csv`, `.parquet` or `.jsonl`.
        done: paths of the finished rows.
    """

    def __init__(self, path: Path, *, resume: bool, head: Row) -> None:
        """Open a table.

        Args:
            path: of the file to make.
            resume: go on with what stands there.
            head: what all rows share, `model` and `operating_point`; rows of another are not gone on with.

        Raises:
            PneumoscopeError: if the format is not known, or the file stands there and `resume` is not set, or it is
                of another head.
        """
        if path.suffix not in FORMATS:
            raise PneumoscopeError(f"{path} ends with {path.suffix!r}; expected one of {', '.join(FORMATS)}")
        self.path = path
        self.done: set[str] = set()
        self._head = head
        self._partial = path.with_name(path.name + ".partial")
        standing = [str(one) for one in (path, self._partial) if one.exists()]
        if standing and not resume:
            raise PneumoscopeError(
                f"{' and '.join(standing)} stand there already. Add --resume, give another --output, or delete."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._partial.exists():
            self._take_over(_read_lines(self._partial))
        elif path.exists():
            self._take_over(read_table(path))
        self._stream = self._partial.open("a", encoding="utf-8")

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, row: Row) -> None:
        """Keep a row; from here on it survives a kill."""
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()
        self.done.add(row["path"])

    def finish(self) -> None:
        """Make the file of all rows, and drop the partial one."""
        self._stream.close()
        made = self.path.with_name(self.path.name + ".whole")
        _WRITERS[self.path.suffix](_read_lines(self._partial), made)
        made.replace(self.path)
        self._partial.unlink()

    def _take_over(self, rows: Iterator[Row]) -> None:
        """Write finished rows anew, so that a torn last line goes."""
        fresh = self._partial.with_name(self._partial.name + ".new")
        with fresh.open("w", encoding="utf-8") as stream:
            for row in rows:
                different = [name for name, value in self._head.items() if row.get(name) != value]
                if different:
                    told = ", ".join(f"{name} {row.get(name)!r} then, {self._head[name]!r} now" for name in different)
                    fresh.unlink()
                    raise PneumoscopeError(
                        f"{self.path} holds readings of other settings: {told}. Give another --output."
                    )
                stream.write(json.dumps(row) + "\n")
                self.done.add(row["path"])
        fresh.replace(self._partial)


def read_table(path: Path) -> Iterator[Row]:
    """Yield the rows of a finished file as they were written.

    Raises:
        PneumoscopeError: if the file is no table of readings.
    """
    try:
        for row in _READERS[path.suffix](path):
            if set(row) != set(COLUMNS):
                raise PneumoscopeError(f"{path} has the columns {', '.join(row)}; expected {', '.join(COLUMNS)}")
            yield row
    except PneumoscopeError:
        raise
    except Exception as error:  # pyarrow, csv and json raise classes of their own
        raise PneumoscopeError(f"{path} is no table of readings ({error}); give another --output") from None


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            try:
                yield json.loads(line)
            except ValueError:
                return


def _write_csv(rows: Iterator[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "neighbors": json.dumps(row["neighbors"])} for row in rows)


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if set(reader.fieldnames or ()) != set(COLUMNS):
            found = ", ".join(reader.fieldnames or ())
            raise PneumoscopeError(f"{path} has the columns {found}; expected {', '.join(COLUMNS)}")
        for row in reader:
            yield {name: _parse(name, text) for name, text in row.items()}


def _parse(name: str, text: str) -> Any:
    if name == "neighbors":
        return json.loads(text)
    if text == "":
        return None
    if name == "in_domain":
        return text == "True"
    return float(text) if name.startswith(("p_", "anomaly_")) else text


def _write_parquet(rows: Iterator[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    case = pa.struct([("name", pa.string()), ("label", pa.string()), ("distance", pa.float64())])
    numbers = {name: pa.float64() for name in COLUMNS if name.startswith(("p_", "anomaly_"))}
    kinds = {**numbers, "in_domain": pa.bool_(), "neighbors": pa.list_(case)}
    schema = pa.schema(
        [(name, kinds.get(name, pa.string())) for name in COLUMNS], metadata={"notice": RESEARCH_USE_ONLY}
    )
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(part, schema))


def _read_parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(ROW_GROUP):
            yield from part.to_pylist()


def _write_jsonl(rows: Iterator[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl}
_READERS = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_lines}
