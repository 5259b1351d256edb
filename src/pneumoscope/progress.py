"""Progress: a bar on a terminal, lines in the log elsewhere; all on standard error, to keep standard output clean."""

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

log = logging.getLogger("pneumoscope")
console = Console(stderr=True)

Item = TypeVar("Item")


def progress_bar() -> Progress:
    """Return a bar with description, share, count and time left, invisible without a terminal."""
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
    """Yield `items` while a bar counts them."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)
