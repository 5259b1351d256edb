"""A metric with its interval, and the check that all results share."""

from __future__ import annotations

from dataclasses import dataclass


def require(condition: bool, message: str) -> None:
    """Raise `ValueError` with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Estimate:
    """One metric with its 95 % interval.

    Attributes:
        value: point estimate on the `n` cases; NaN where it is undefined.
        low, high: bounds of the 95 % interval; NaN where it is undefined.
        n: number of images behind the metric.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
