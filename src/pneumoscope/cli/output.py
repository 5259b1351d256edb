"""Tables and JSON on standard output."""

import json
from typing import TYPE_CHECKING, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from rich.console import Console

    from pneumoscope.io.results import Estimate, MethodTable

INTERRUPTED = 130
SOME_FAILED = 1
NOT_WRITTEN = 3
_PADDING = 3  # border and padding of a column, in characters
_FILE_WIDTH = 2000


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as one table, and exit with 1 if a row has an error. A key that a row lacks becomes an empty cell."""
    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "rows": rows}))
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        print_table(None, names, [[str(row.get(name, "")) for name in names] for row in rows])
    if any(row.get("error") for row in rows):
        raise typer.Exit(SOME_FAILED)


def print_metrics(metrics: "dict[str, Estimate]", split: str, *, as_json: bool = False) -> None:
    """Print metrics with their 95 % intervals."""
    from pneumoscope.io.json_file import to_plain

    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "split": split, "metrics": to_plain(metrics)}))
        return
    rows = [
        [name, *(f"{number:.3f}" for number in (estimate.value, estimate.low, estimate.high)), str(estimate.n)]
        for name, estimate in metrics.items()
    ]
    title = f"Metrics on {split} (95 % CI, bootstrap over patients)"
    print_table(title, ["metric", "value", "low", "high", "n"], rows)


def print_methods(table: "MethodTable", *, as_json: bool = False) -> None:
    """Print one row per method. Metrics that do not fit the terminal's width go to further tables."""
    from pneumoscope.io.json_file import to_plain

    if as_json:
        methods = to_plain(table.metrics)
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "methods": methods, "remarks": table.remarks}))
        return
    columns = {name: [str(metrics.get(name, "-")) for metrics in table.metrics.values()] for name in table.columns}
    title: str | None = "Methods (95 % CI, bootstrap over patients)"
    for names in _split_columns(columns, len(max(table.metrics, key=len))):
        rows = zip(table.metrics, *(columns[name] for name in names), strict=True)
        print_table(title, ["method", *names], [list(row) for row in rows])
        title = None
    for method, remark in table.remarks.items():
        typer.echo(f"{method}: {remark}")


def _split_columns(columns: dict[str, list[str]], first_width: int) -> list[list[str]]:
    """Return the column names of each table that fits next to a first column of `first_width` characters."""
    available = open_console().width - first_width - 2 * _PADDING
    tables: list[list[str]] = [[]]
    remaining = available
    for name, values in columns.items():
        width = max(map(len, (name, *values))) + _PADDING
        if tables[-1] and width > remaining:
            tables.append([])
            remaining = available
        tables[-1].append(name)
        remaining -= width
    return tables


def print_table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table with the notice below it."""
    from rich.table import Column, Table

    table = Table(*(Column(name, overflow="fold") for name in columns), title=title, caption=RESEARCH_USE_ONLY)
    for row in rows:
        table.add_row(*row)
    open_console().print(table)


def open_console() -> "Console":
    """Return a console on standard output. Outside of a terminal, it is wide enough for any table.

    Names in brackets are text, not markup.
    """
    from rich.console import Console

    console = Console(markup=False)
    return console if console.is_terminal else Console(width=_FILE_WIDTH, markup=False)
