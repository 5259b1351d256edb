"""Split conformal prediction: sets of classes that contain the true one with a given coverage.

A class is in the set of an image unless its probability is lower than that of the true class was in all but the lowest
tenth (for 90 %) of the validation images. The coverage holds over all images, not for each class by itself, and for
new images that are exchangeable with the validation images.

Source: M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", JASA
114, 2019; the quantile is MAPIE's. `choose_sets` needs NumPy alone.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate

COVERAGE = 0.9


def fit_conformal(labels: ArrayLike, probabilities: np.ndarray, *, coverage: float = COVERAGE) -> float:
    """Return how improbable a class may be and still be in the set, from validation images.

    Args:
        labels: `(n,)` ints, index of the true class.
        probabilities: `(n, classes)` floats in [0, 1], rows sum to 1, of images that the classifier was not fitted to.
        coverage: share of the images whose set shall contain the true class, in (0, 1).

    Returns:
        The largest `1 - probability` at which a class is in the set; 1, which includes every class, where there are too
        few images for this coverage.

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
    """Return `(n, classes)` bool, the classes in the set of each image; a set may be empty.

    Args:
        probabilities: `(n, classes)` floats in [0, 1].
        limit: as `fit_conformal` returns it; a class is in the set when `1 - probability <= limit`.

    Example:
        >>> choose_sets(np.array([[0.6, 0.4], [0.95, 0.05]]), 0.7)
        array([[ True,  True],
               [ True, False]])
    """
    return 1 - probabilities <= limit


def evaluate_sets(sets: np.ndarray, truths: np.ndarray, patients: ArrayLike, *, seed: int = 0) -> dict[str, Estimate]:
    """Return the coverage and the size of sets.

    Args:
        sets: `(n, classes)` bool.
        truths: `(n, classes)` bool, the classes that may be true of an image, more than one where the subtype is
            unknown. A set that contains one of them covers the image.
        patients: `(n,)` str, the unit that the intervals resample.
        seed: of the resampling.

    Returns:
        `coverage`; `size`, the mean number of classes in a set; `single`, `several` and `empty`, shares of the sets
        of one class, of more and of none.

    Raises:
        ValueError: if there is no image or the shapes differ.
    """
    # SciPy, which intervals need, is not needed by `choose_sets`.
    from pneumoscope.metrics.intervals import estimate

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
    return estimate(
        lambda weights: {
            name: weights @ values.astype(float) / weights.sum(axis=1) for name, values in columns.items()
        },
        patients,
        seed=seed,
    )
