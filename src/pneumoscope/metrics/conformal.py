"""Split conformal prediction: prediction sets that contain the true class with a given coverage.

A class is in the set if its nonconformity score `1 - probability` is at most a quantile of the scores of the true
classes of the validation images. The coverage is marginal, not per class, and holds for images that are exchangeable
with the validation images. They are defined for single-label sets only: a set of findings has no single true class.

Source: M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", JASA
114, 2019; MAPIE computes the quantile. `choose_sets` requires only NumPy.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate

COVERAGE = 0.9


def fit_conformal(labels: ArrayLike, probabilities: np.ndarray, *, coverage: float = COVERAGE) -> float:
    """Return the conformal limit, fitted on validation images.

    Args:
        labels: `(n,)` ints, index of the true class.
        probabilities: `(n, classes)` floats in [0, 1], rows sum to 1, of held-out images.
        coverage: nominal coverage, in (0, 1).

    Returns:
        The largest `1 - probability` of a class in the set, in [0, 1]. With too few images for the coverage it is 1,
        and every class is in the set.

    Raises:
        ValueError: if the shapes differ or `coverage` is out of range.
    """
    from mapie.conformity_scores import LACConformityScore

    labels = np.asarray(labels, dtype=np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not 0 < coverage < 1:
        raise ValueError(
            f"labels are {labels.shape}, probabilities {probabilities.shape}, coverage {coverage}; "
            "expected (n,), (n, classes) and a coverage in (0, 1)"
        )
    if len(labels) < coverage / (1 - coverage):
        return 1.0
    rule = LACConformityScore()
    scores = rule.get_conformity_scores(labels, probabilities, y_enc=labels)
    return float(rule.get_conformity_score_quantiles(scores, np.array([1 - coverage]), "prefit")[0])


def choose_sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Return `(n, classes)` bool, the prediction set of each image; a set may be empty.

    Args:
        probabilities: `(n, classes)` floats in [0, 1].
        limit: from `fit_conformal`; a class is in the set when `1 - probability <= limit`.

    Example:
        >>> choose_sets(np.array([[0.6, 0.4], [0.95, 0.05]]), 0.7)
        array([[ True,  True],
               [ True, False]])
    """
    return 1 - probabilities <= limit


def evaluate_sets(
    sets: np.ndarray, true_classes: np.ndarray, patients: ArrayLike, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return the coverage and size of prediction sets.

    Args:
        sets: `(n, classes)` bool, prediction sets.
        true_classes: `(n, classes)` bool, possible true classes; more than one if only the group is known. A set covers
            an image if it contains one of them.
        patients, seed: of the bootstrap, see `estimate`.

    Returns:
        `coverage`; `size`, the mean number of classes per set; `single`, `several` and `empty`, the shares of sets with
        one class, more than one, and none.

    Raises:
        ValueError: if there are no images or the shapes differ.
    """
    # Imported here because `choose_sets` works without SciPy.
    from pneumoscope.metrics.intervals import estimate

    if sets.shape != true_classes.shape or np.shape(patients) != sets.shape[:1]:
        raise ValueError(
            f"sets are {sets.shape}, true_classes {true_classes.shape}, patients {np.shape(patients)}; "
            "expected (n, classes), (n, classes), (n,)"
        )
    sizes = sets.sum(axis=1)
    columns = {
        "coverage": (sets & true_classes).any(axis=1),
        "size": sizes,
        "single": sizes == 1,
        "several": sizes > 1,
        "empty": sizes == 0,
    }
    return estimate(
        lambda weights: {
            name: weights @ values.astype(float) / weights.sum(axis=1) for name, values in columns.items()
        },
        patients,
        seed=seed,
    )
