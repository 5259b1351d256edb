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

    def complement(self) -> Estimate:
        """Return 1 minus the metric, with its interval.

        Example:
            >>> print(Estimate(0.25, 0.0, 0.5, 8).complement())
            0.750 [0.500, 1.000]
        """
        return Estimate(1 - self.value, 1 - self.high, 1 - self.low, self.n)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
