"""Tables of methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pneumoscope.io.results.estimate import Estimate, require

Metrics = dict[str, Estimate]


@dataclass(frozen=True)
class MethodTable:
    """Metrics of several methods on the same images.

    Attributes:
        metrics: by method and metric; metrics that do not apply to a method are missing.
        remarks: by method, one sentence on the interpretation of its metrics.
    """

    metrics: dict[str, Metrics]
    remarks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.remarks if name not in self.metrics]
        require(not unknown, f"remarks name {', '.join(unknown)}; expected methods that have metrics")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all metrics, in order of first occurrence."""
        return tuple(dict.fromkeys(name for metrics in self.metrics.values() for name in metrics))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per method and metric: `method`, `metric`, `value`, `low`, `high`, `n`."""
        return [
            {"method": method, "metric": name, **vars(estimate)}
            for method, metrics in self.metrics.items()
            for name, estimate in metrics.items()
        ]


def without_interval(value: float, n: int) -> Estimate:
    """Return an estimate of `n` images without an interval."""
    return Estimate(value, float("nan"), float("nan"), n)
