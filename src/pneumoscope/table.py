"""Readings as a table on disk that a killed run can go on with.

Every finished row is first written to `FILE.partial`, one JSON text a line; `FILE` itself is made of it at the end,
in one step. A run that was killed leaves the partial file, of which at most the last line is torn.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError

FORMATS = (".csv", ".parquet", ".jsonl")
COLUMNS = (
    *("path", "error", "decision", "operating_point", "p_normal", "p_bacterial", "p_viral", "p_pneumonia"),
    *("anomaly_score", "anomaly_percentile", "in_domain", "reason", "neighbors", "heatmap", "model"),
)

Row = dict[str, Any]


class Table:
    """The rows of one output file.

    Attributes:
        path: of the finished file: `.csv`, `.parquet` or `.jsonl`.
        rows: finished so far, in order.
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
        self.rows: list[Row] = []
        self._partial = path.with_name(path.name + ".partial")
        standing = [str(one) for one in (path, self._partial) if one.exists()]
        if standing and not resume:
            raise PneumoscopeError(
                f"{' and '.join(standing)} stand there already. Add --resume, give another --output, or delete."
            )
        if self._partial.exists():
            self.rows = list(_read_lines(self._partial))
        elif path.exists():
            self.rows = read_table(path)
        for row in self.rows:
            different = [name for name, value in head.items() if row.get(name) != value]
            if different:
                told = ", ".join(f"{name} {row.get(name)!r} then, {head[name]!r} now" for name in different)
                raise PneumoscopeError(f"{path} holds readings of other settings: {told}. Give another --output.")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written anew, so that a torn last line goes.
        self._stream = self._partial.open("w", encoding="utf-8")
        for row in self.rows:
            self._write(row)
        self._flush()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def done(self) -> set[str]:
        """Paths of the finished rows."""
        return {row["path"] for row in self.rows}

    def add(self, row: Row) -> None:
        """Keep a row; from here on it survives a kill."""
        self.rows.append(row)
        self._write(row)
        self._flush()

    def finish(self) -> None:
        """Make the file of all rows, and drop the partial one."""
        self._stream.close()
        made = self.path.with_name(self.path.name + ".whole")
        _WRITERS[self.path.suffix](self.rows, made)
        made.replace(self.path)
        self._partial.unlink()

    def _write(self, row: Row) -> None:
        self._stream.write(json.dumps(row) + "\n")

    def _flush(self) -> None:
        self._stream.flush()


def read_table(path: Path) -> list[Row]:
    """Return the rows of a finished file as they were written.

    Raises:
        PneumoscopeError: if the file is no table of readings.
    """
    try:
        rows = _READERS[path.suffix](path)
    except Exception as error:  # pyarrow, csv and json raise classes of their own
        raise PneumoscopeError(f"{path} is no table of readings ({error}); give another --output") from None
    if rows and set(rows[0]) != set(COLUMNS):
        raise PneumoscopeError(f"{path} has the columns {', '.join(rows[0])}; expected {', '.join(COLUMNS)}")
    return rows


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            try:
                yield json.loads(line)
            except ValueError:
                return


def _write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "neighbors": json.dumps(row["neighbors"])} for row in rows)


def _read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: _parse(name, text) for name, text in row.items()} for row in csv.DictReader(stream)]


def _parse(name: str, text: str) -> Any:
    if name == "neighbors":
        return json.loads(text)
    if text == "":
        return None
    if name == "in_domain":
        return text == "True"
    return float(text) if name.startswith(("p_", "anomaly_")) else text


def _write_parquet(rows: list[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    case = pa.struct([("name", pa.string()), ("label", pa.string()), ("distance", pa.float64())])
    numbers = {name: pa.float64() for name in COLUMNS if name.startswith(("p_", "anomaly_"))}
    kinds = {**numbers, "in_domain": pa.bool_(), "neighbors": pa.list_(case)}
    schema = pa.schema(
        [(name, kinds.get(name, pa.string())) for name in COLUMNS], metadata={"notice": RESEARCH_USE_ONLY}
    )
    parquet.write_table(pa.Table.from_pylist(rows, schema), path)


def _read_parquet(path: Path) -> list[Row]:
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def _write_jsonl(rows: list[Row], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl}
_READERS = {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": lambda path: list(_read_lines(path))}
