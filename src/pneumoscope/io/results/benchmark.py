"""Methods side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class MethodTable:
    """Figures of several methods for one end, measured on the same images.

    Attributes:
        figures: by method, by name of the figure; what a method does not have is missing.
        remarks: by method, what its figures must be read with, as one sentence.
    """

    figures: dict[str, dict[str, Estimate]]
    remarks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = [name for name in self.remarks if name not in self.figures]
        require(not strangers, f"remarks are of {', '.join(strangers)}, expected methods that have figures")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all figures, in the order in which the methods name them."""
        return tuple(dict.fromkeys(name for figures in self.figures.values() for name in figures))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row for each figure: `method`, `figure`, `value`, `low`, `high`, `n`."""
        return [
            {"method": method, "figure": name, **vars(estimate)}
            for method, figures in self.figures.items()
            for name, estimate in figures.items()
        ]
