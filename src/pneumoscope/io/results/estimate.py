"""A metric with its 95 % confidence interval, and the validation that all results share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def require(condition: bool, message: str) -> None:
    """Raise `ValueError` with the message if the condition is false."""
    if not condition:
        raise ValueError(message)


def check_shapes(result: Any, **shapes: tuple[int, ...]) -> None:
    """Raise `ValueError` if an array of a result has another shape."""
    for name, shape in shapes.items():
        actual = getattr(result, name).shape
        require(actual == shape, f"{name} is {actual}; expected {shape}")


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % confidence interval.

    Attributes:
        value: point estimate; NaN if undefined.
        low, high: bounds of the interval; NaN if undefined.
        n: number of images.
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
