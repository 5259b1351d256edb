"""Progress on standard error: a bar on a terminal, log lines elsewhere."""

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

log = logging.getLogger("pneumoscope")
console = Console(stderr=True)

Item = TypeVar("Item")


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
