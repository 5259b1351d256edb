"""One label per image, for colors and examples; images against normals; and examples of several classes in turn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.labels import UNKNOWN, LabelSet

SEVERAL = "several findings"


def simplify_labels(labels: NDArray[np.integer], label_set: LabelSet) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return one label per image and the names that they index.

    Args:
        labels: from `Dataset.labels(label_set)`.
        label_set: the classes.

    Returns:
        `(n,)` int64, -1 = unknown; and the names. Single-label: the classes. Multi-label: the negative name, the
        findings, and `several findings`.

    Example:
        >>> findings = LabelSet(("edema", "mass"), multi_label=True)
        >>> simplify_labels(np.array([[0, 0], [0, 1], [1, 1], [-1, 0]]), findings)
        (array([ 0,  2,  3, -1]), ('no finding', 'edema', 'mass', 'several findings'))
    """
    if not label_set.multi_label:
        return np.asarray(labels, dtype=np.int64), label_set.classes
    names = (label_set.without_finding, *label_set.classes, SEVERAL)
    count = (labels == 1).sum(axis=1)
    without = np.where((labels == UNKNOWN).any(axis=1), UNKNOWN, 0)
    return np.select([count == 0, count == 1], [without, 1 + labels.argmax(axis=1)], len(names) - 1), names


def is_labeled(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return `(n,)` bool, whether the class, or one finding or more, of each image is known."""
    known = labels != UNKNOWN
    return np.asarray(known if known.ndim == 1 else known.any(axis=1))


def label_positive(dataset: Dataset) -> NDArray[np.int64]:
    """Return `(n,)` int64: 0 = normal (the negative class, or all findings absent), 1 = any other class, -1 = unknown.

    All are unknown in a single-label dataset without a negative class.
    """
    label_set = dataset.label_set
    if label_set.multi_label:
        return np.minimum(simplify_labels(dataset.labels(), label_set)[0], 1)
    return dataset.labels(label_set.binary()) if label_set.negative else np.full(len(dataset), UNKNOWN)


def take_turns(groups: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the numbers of all groups, one of each group in turn.

    Example:
        >>> take_turns([np.array([1, 2, 3]), np.array([7])])
        array([1, 7, 2, 3])
    """
    longest = max(map(len, groups), default=0)
    return np.array([group[turn] for turn in range(longest) for group in groups if turn < len(group)], dtype=np.int64)
