"""Contiguous runs of a collection in the order of its file names: neighbors were often made or labeled together."""

import math
import re
from collections.abc import Sequence

import numpy as np

SPAN = 5  # times the reach: values farther off do not count

_DIGITS = re.compile(r"(\d+)")


def order_names(names: Sequence[str]) -> np.ndarray:
    """Return `(n,)` int64, indices that put file names in order, without their folders and with numbers by value.

    Example:
        >>> order_names(["a/IM-10.png", "b/IM-9.png", "b/IM-9b.png"]).tolist()
        [1, 2, 0]
    """

    def key(row: int) -> list[tuple[int, str]]:
        parts = _DIGITS.split(names[row].rpartition("/")[2])
        return [(int(part), "") if part.isdigit() else (0, part) for part in parts]

    return np.array(sorted(range(len(names)), key=key), dtype=np.int64)


def smooth_along(values: np.ndarray, *, reach: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the weighted mean of the values around each, itself included, or only of those of other groups.

    Args:
        values: `(n,)` or `(n, k)` floats, in order.
        reach: standard deviation of the weights, in places.
        groups: `(n,)`, such as patients; a value without another group around it stays as it is.

    Returns:
        Floats of the shape of `values`.
    """
    num, span = len(values), min(len(values) - 1, math.ceil(SPAN * reach))
    sums, totals = np.zeros(values.shape), np.zeros((num, *[1] * (values.ndim - 1)))
    for step in range(-span, span + 1):
        here, there = slice(max(0, -step), num - max(0, step)), slice(max(0, step), num - max(0, -step))
        weight = np.full(totals[here].shape, math.exp(-0.5 * (step / reach) ** 2))
        if groups is not None:
            weight *= (groups[here] != groups[there]).reshape(weight.shape)
        sums[here] += weight * values[there]
        totals[here] += weight
    return np.divide(sums, totals, out=values.astype(np.float64), where=totals > 0)


def list_runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and the last place of each run of flags.

    Example:
        >>> list_runs(np.array([True, True, False, True]))
        [(0, 1), (3, 3)]
    """
    flags = np.asarray(flags, dtype=bool)
    starts = np.flatnonzero(np.diff(flags, prepend=False) & flags)
    ends = np.flatnonzero(np.diff(flags, append=False) & flags)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
