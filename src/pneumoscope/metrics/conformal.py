"""Sets of classes that hold the true one as often as promised, whatever the net: split conformal prediction.

A class is in the set of an image unless its probability is lower than that of the true class was in all but the least
fitting tenth (for 90 %) of the validation images. The promise holds over all images, not for each class by itself, and
hangs on new images being drawn as the validation images were.

Source: M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", JASA
114, 2019; the quantile is MAPIE's. Whether the promise is kept is told by `coverage.py`; this file needs NumPy alone to
apply, as readers do.
"""

import numpy as np
from numpy.typing import ArrayLike

COVERAGE = 0.9


def fit_conformal(labels: ArrayLike, probabilities: np.ndarray, *, coverage: float = COVERAGE) -> float:
    """Learn from validation images how improbable a class may be and still be in the set.

    Args:
        labels: `(n,)` ints, index of the true class.
        probabilities: `(n, classes)` floats in [0, 1], rows sum to 1. The promise is exact on images that nothing
            else was fitted to, and very nearly kept on those that the few numbers of the calibration were.
        coverage: share of the images whose set shall hold the true class, in (0, 1).

    Returns:
        The largest `1 - probability` at which a class is in the set; 1, which lets all be, where there are too few
        images to promise so much by less.

    Raises:
        ValueError: if the shapes differ or `coverage` is out of range.
    """
    from mapie.conformity_scores import LACConformityScore

    labels = np.asarray(labels, dtype=np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not 0 < coverage < 1:
        raise ValueError(f"labels are {labels.shape}, probabilities {probabilities.shape}, coverage {coverage}")
    if len(labels) < coverage / (1 - coverage):
        return 1.0
    rule = LACConformityScore()
    scores = rule.get_conformity_scores(labels, probabilities, y_enc=labels)
    return float(rule.get_conformity_score_quantiles(scores, np.array([1 - coverage]), "prefit")[0])


def choose_sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Return `(n, classes)` bool, which classes are in the set of each image; a set may be empty.

    Args:
        probabilities: `(n, classes)` floats in [0, 1].
        limit: as `fit_conformal` returns it; a class is in the set when `1 - probability <= limit`.

    Example:
        >>> choose_sets(np.array([[0.6, 0.4], [0.95, 0.05]]), 0.7)
        array([[ True,  True],
               [ True, False]])
    """
    return 1 - probabilities <= limit
