"""Whether sets of classes hold the truth as often as they promise, and how much they say."""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate
from pneumoscope.metrics.intervals import estimate


def evaluate_sets(sets: np.ndarray, truths: np.ndarray, patients: ArrayLike, *, seed: int = 0) -> dict[str, Estimate]:
    """Return how often sets hold the truth, and how much they say.

    Args:
        sets: `(n, classes)` bool.
        truths: `(n, classes)` bool, the classes that are true of an image as far as is known; more than one where
            its sub-type is not known. A set holds the truth if it holds one of them.
        patients: `(n,)` str, the unit that the intervals resample.
        seed: of the resampling.

    Returns:
        `coverage`; `size`, the mean number of classes in a set; `single`, `several` and `empty`, shares of the sets
        of one class, of more and of none.

    Raises:
        ValueError: if there is no image or the shapes differ.
    """
    if sets.shape != truths.shape or np.shape(patients) != sets.shape[:1]:
        raise ValueError(f"sets are {sets.shape}, truths {truths.shape}, patients {np.shape(patients)}")
    sizes = sets.sum(axis=1)
    columns = {
        "coverage": (sets & truths).any(axis=1),
        "size": sizes,
        "single": sizes == 1,
        "several": sizes > 1,
        "empty": sizes == 0,
    }

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: weights @ values.astype(np.float64) / weights.sum(axis=1) for name, values in columns.items()}

    return estimate(figures, patients, seed=seed)
