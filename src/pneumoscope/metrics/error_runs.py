"""Contiguous runs in file-name order: images with consecutive names were often acquired or labeled together."""

import math
import re
from collections.abc import Sequence

import numpy as np

SPAN = 5  # width of the smoothing window on each side, in units of `reach`

_DIGITS = re.compile(r"(\d+)")


def order_names(names: Sequence[str]) -> np.ndarray:
    """Return `(n,)` int64, indices that sort file names. Folders are ignored, and numbers are compared by value.

    Example:
        >>> order_names(["a/IM-10.png", "b/IM-9.png", "b/IM-9b.png"]).tolist()
        [1, 2, 0]
    """

    def key(row: int) -> list[tuple[int, str]]:
        parts = _DIGITS.split(names[row].rpartition("/")[2])
        return [(int(part), "") if part.isdigit() else (0, part) for part in parts]

    return np.array(sorted(range(len(names)), key=key), dtype=np.int64)


def smooth_along(values: np.ndarray, *, reach: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Smooth values along a sequence with a Gaussian kernel.

    Args:
        values: `(n,)` or `(n, k)` floats, in sequence order.
        reach: standard deviation of the kernel, in positions.
        groups: `(n,)`, such as patients. If given, a value's own group has no weight in its mean; a value without
            another group in the window is returned unchanged.

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
    """Return the first and last index of each contiguous run of True.

    Example:
        >>> list_runs(np.array([True, True, False, True]))
        [(0, 1), (3, 3)]
    """
    flags = np.asarray(flags, dtype=bool)
    starts = np.flatnonzero(np.diff(flags, prepend=False) & flags)
    ends = np.flatnonzero(np.diff(flags, append=False) & flags)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
