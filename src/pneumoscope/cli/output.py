"""Tables on a terminal or as JSON, and a standard error without the messages of native libraries."""

import faulthandler
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from pneumoscope import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from rich.console import Console

    from pneumoscope.io.results import Estimate, MethodTable

FIGURE_FIELDS = ("value", "low", "high", "n")
_BORDERS = 3  # characters beside a column's own
_ANY_WIDTH = 2000


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


def print_outcome(metrics: "dict[str, Estimate]", rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the rows of a task alone, or its figures where there are none."""
    if not rows:
        print_metrics(metrics, "test", as_json=as_json)
    elif as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "rows": rows}))
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        print_table(None, names, [[str(row.get(name, "")) for name in names] for row in rows])


def print_metrics(metrics: "dict[str, Estimate]", split: str, *, as_json: bool = False) -> None:
    """Print figures with their intervals."""
    from pneumoscope.io.json_file import to_plain

    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "split": split, "metrics": to_plain(metrics)}))
        return
    rows = [
        [name, *(f"{number:.3f}" for number in (figure.value, figure.low, figure.high)), str(figure.n)]
        for name, figure in metrics.items()
    ]
    print_table(f"{split}: figures with 95 % intervals that resample patients", ["figure", *FIGURE_FIELDS], rows)


def print_methods(table: "MethodTable", *, as_json: bool = False) -> None:
    """Print methods side by side, a row each: in one table, or in as many as it takes not to break its cells."""
    from pneumoscope.io.json_file import to_plain

    if as_json:
        methods = to_plain(table.metrics)
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "methods": methods, "remarks": table.remarks}))
        return
    columns = {
        name: [str(found[name]) if name in found else "-" for found in table.metrics.values()] for name in table.columns
    }
    title: str | None = "methods side by side, with 95 % intervals that resample patients"
    for part in _share_out(columns, len(max(table.metrics, key=len))):
        rows = zip(table.metrics, *(columns[name] for name in part), strict=True)
        print_table(title, ["method", *part], [list(row) for row in rows])
        title = None
    for method, remark in table.remarks.items():
        typer.echo(f"{method}: {remark}")


def _share_out(columns: Mapping[str, list[str]], first: int) -> list[list[str]]:
    """Return the names of the columns of each table that fits, behind a first column of so many characters."""
    room = open_console().width - first - 2 * _BORDERS
    parts: list[list[str]] = [[]]
    left = room
    for name, cells in columns.items():
        width = max(len(text) for text in (name, *cells)) + _BORDERS
        if parts[-1] and width > left:
            parts.append([])
            left = room
        parts[-1].append(name)
        left -= width
    return parts


def print_table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table, with the notice below it."""
    from rich.table import Table

    table = Table(title=title, caption=RESEARCH_USE_ONLY)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    open_console().print(table)


def open_console() -> "Console":
    """Return the standard output, as wide as need be where it is no terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_ANY_WIDTH)
