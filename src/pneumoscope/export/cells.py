"""Convolutions of pixels written as convolutions of cells, each of which holds several pixels as its channels.

A convolution that reads one channel leaves most of a processor's vectors empty. Over cells the same sums are taken of
many channels at fewer places.
"""

import numpy as np


def regroup_kernel(kernel: np.ndarray, *, side: int, strides: int, before: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the kernel that takes cells of pixels to cells of what the given one makes of the pixels.

    Args:
        kernel: `(k, k, channels, filters)` float32.
        side: of an input cell in pixels, a multiple of `strides`; its channels are row, column and channel, in this
            order of their weight. Output cells have sides of `side / strides`.
        strides: of the given kernel; that over cells has a stride of 1.
        before: rows and columns of zeros that are put before the first pixel.

    Returns:
        `(c, c, side * side * channels, (side / strides) ** 2 * filters)` float32, and how many cells of zeros to put
        before the first and behind the last.

    Example:
        >>> kernel, padding = regroup_kernel(np.ones((3, 3, 1, 8), np.float32), side=2, strides=1, before=1)
        >>> kernel.shape, padding
        ((3, 3, 4, 32), (1, 1))
    """
    size, channels, filters = len(kernel), *kernel.shape[2:]
    made = side // strides
    # The first pixel that place `a` of an output cell reads lies at `strides * a - before` of the input cell.
    reached = {(a, tap): divmod(strides * a - before + tap, side) for a in range(made) for tap in range(size)}
    low, high = min(cell for cell, _ in reached.values()), max(cell for cell, _ in reached.values())
    span = high - low + 1
    wide = np.zeros((span, span, side, side, channels, made, made, filters), np.float32)
    for (row, down), (i, in_row) in reached.items():
        for (column, along), (j, in_column) in reached.items():
            wide[i - low, j - low, in_row, in_column, :, row, column] = kernel[down, along]
    return wide.reshape(span, span, side * side * channels, made * made * filters), (-low, high)


def part_rows(kernel: np.ndarray, around: tuple[int, int], *, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the kernel that takes cells of a single row to what the given one makes of cells of several.

    Args:
        kernel: `(c, c, side * side * channels, filters)`, as `regroup_kernel` returns it.
        around: how many cells of zeros are put before the first and behind the last.
        side: of a cell in pixels; it is also the stride along the columns of the kernel that is returned, whose other
            stride stays 1.

    Returns:
        `(r, c, side * channels, filters)`, and how many rows of zeros to put before the first and behind the last.

    Example:
        >>> kernel, padding = regroup_kernel(np.ones((3, 3, 1, 8), np.float32), side=4, strides=2, before=0)
        >>> kernel, padding = part_rows(kernel, padding, side=4)
        >>> kernel.shape, padding
        ((5, 2, 4, 32), (0, 1))
    """
    span, _, depth, filters = kernel.shape
    parted = kernel.reshape(span, span, side, depth // side, filters).transpose(0, 2, 1, 3, 4)
    rows = parted.reshape(span * side, span, depth // side, filters)
    used = np.flatnonzero(rows.any(axis=(1, 2, 3)))
    first, last = int(used[0]), int(used[-1])
    before, behind = (side * cells for cells in around)
    return rows[first : last + 1], (before - first, behind - (len(rows) - 1 - last))
