"""A picture of the report before it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sketch:
    """A picture not yet drawn.

    Attributes:
        section: part of the page that it belongs to: a task, `overview` or `leakage`.
        group: pictures of one group stand side by side.
        name: file name without suffix.
        caption: how to read it.
        draw: makes the figure.
        describe: makes the alternative text.
        wide: whether it takes the whole width of the page.
    """

    section: str
    group: str
    name: str
    caption: str
    draw: Callable[[], Figure]
    describe: Callable[[], str]
    wide: bool = False
