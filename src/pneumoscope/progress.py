"""Progress on standard error: a bar on a terminal, log lines elsewhere."""

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pneumoscope.errors import escape_controls

log = logging.getLogger("pneumoscope")
console = Console(stderr=True)

Item = TypeVar("Item")


def _escape_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = escape_controls(record.getMessage()), ()
    return True


# Messages name files, whose names may come from anyone.
log.addFilter(_escape_record)


def progress_bar() -> Progress:
    """Return a progress bar with description, percentage, count and remaining time; invisible without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def track(items: Iterable[Item], description: str, *, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and show a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)
