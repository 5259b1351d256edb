"""Tables on a terminal or as JSON, and a standard error without the messages of native libraries."""

import faulthandler
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from pneumoscope import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from rich.console import Console

    from pneumoscope.io.results import Estimate, MethodTable

INTERRUPTED = 130
_BORDERS = 3  # characters beside a column's own
_FILE_WIDTH = 2000


class KerasCommand(TyperCommand):
    """A command that needs Keras, which is imported once the command line has been parsed."""

    def invoke(self, ctx: Any) -> Any:
        """Import Keras and run the command."""
        import_keras()
        return super().invoke(ctx)


def import_keras() -> None:
    """Import Keras without the messages that TensorFlow writes while it loads, whatever the log level.

    See https://github.com/tensorflow/tensorflow/issues/100442.
    """
    if "keras" not in sys.modules:
        with drop_native_stderr():
            import pneumoscope.models.saved_model  # noqa: F401 sets the environment and imports Keras


@contextmanager
def drop_native_stderr() -> Iterator[None]:
    """Drop what native code writes to file descriptor 2; Python's own standard error is still shown."""
    python_stderr = sys.stderr
    try:
        kept = os.dup(2)
    except OSError:  # closed by the calling process
        yield
        return
    if python_stderr is sys.__stderr__:
        # Left open: a log handler that is created meanwhile keeps this stream.
        sys.stderr = open(kept, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        if not faulthandler.is_enabled():
            faulthandler.enable(sys.stderr)  # a crash of native code is reported all the same
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        sys.stderr = python_stderr


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows with the same or different keys as one table."""
    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "rows": rows}))
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_table(None, names, [[str(row.get(name, "")) for name in names] for row in rows])


def print_metrics(metrics: "dict[str, Estimate]", split: str, *, as_json: bool = False) -> None:
    """Print metrics with their intervals."""
    from pneumoscope.io.json_file import to_plain

    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "split": split, "metrics": to_plain(metrics)}))
        return
    rows = [
        [name, *(f"{number:.3f}" for number in (estimate.value, estimate.low, estimate.high)), str(estimate.n)]
        for name, estimate in metrics.items()
    ]
    title = f"{split}: metrics with 95 % intervals that resample patients"
    print_table(title, ["metric", "value", "low", "high", "n"], rows)


def print_methods(table: "MethodTable", *, as_json: bool = False) -> None:
    """Print one row for each method, in as many tables as a terminal needs to keep cells whole."""
    from pneumoscope.io.json_file import to_plain

    if as_json:
        methods = to_plain(table.metrics)
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "methods": methods, "remarks": table.remarks}))
        return
    columns = {name: [str(metrics.get(name, "-")) for metrics in table.metrics.values()] for name in table.columns}
    title: str | None = "methods with 95 % intervals that resample patients"
    for names in _split_columns(columns, len(max(table.metrics, key=len))):
        rows = zip(table.metrics, *(columns[name] for name in names), strict=True)
        print_table(title, ["method", *names], [list(row) for row in rows])
        title = None
    for method, remark in table.remarks.items():
        typer.echo(f"{method}: {remark}")


def _split_columns(columns: dict[str, list[str]], first_width: int) -> list[list[str]]:
    """Return the names of the columns of each table that fits beside a first column of `first_width` characters."""
    available = open_console().width - first_width - 2 * _BORDERS
    tables: list[list[str]] = [[]]
    left = available
    for name, cells in columns.items():
        width = max(map(len, (name, *cells))) + _BORDERS
        if tables[-1] and width > left:
            tables.append([])
            left = available
        tables[-1].append(name)
        left -= width
    return tables


def print_table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table, with the notice below it."""
    from rich.table import Column, Table

    table = Table(*(Column(name, overflow="fold") for name in columns), title=title, caption=RESEARCH_USE_ONLY)
    for row in rows:
        table.add_row(*row)
    open_console().print(table)


def open_console() -> "Console":
    """Return the standard output, as wide as needed where it is not a terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)
