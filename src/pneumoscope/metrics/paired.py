"""Comparison of two classifiers on the same images.

Sources: E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics 44, 1988 (areas under the ROC curve); Q. McNemar,
Psychometrika 12, 1947 (decisions), in its exact form. Both tests treat images as independent: where patients have
several, the p-values are too small. The interval of the difference resamples patients.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import PairedComparison
from pneumoscope.metrics.classification import weigh_auroc
from pneumoscope.metrics.intervals import estimate, estimate_mean, require_same_shape


def compare_rankings(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> PairedComparison:
    """Compare the areas under the ROC curve of two scores, by DeLong's test.

    Args:
        labels: `(n,)` ints, 1 = pneumonia, 0 = normal; both occur.
        first, second: `(n,)` floats, higher = more like a pneumonia.
        patients: `(n,)` str, the unit that the interval resamples.
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or a class is missing.
    """
    from MLstatkit import Delong_test
    from scipy.stats import rankdata

    labels = np.asarray(labels, dtype=np.int64)
    scores = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    require_same_shape(labels=labels, first=scores[0], second=scores[1], patients=patients)
    if set(labels.tolist()) != {0, 1}:
        raise ValueError(f"labels hold {sorted(set(labels.tolist()))}, expected both 0 and 1")

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        earlier, later = (weigh_auroc(labels == 1, values, weights) for values in scores)
        return {"difference": later - earlier}

    # Equal rankings have no variance, which the test divides by.
    same = np.array_equal(*(rankdata(values) for values in scores))
    p_value = 1.0 if same else Delong_test(labels, *scores, return_ci=False, return_auc=False, random_state=seed)[1]
    return PairedComparison("DeLong", estimate(compute, patients, seed=seed)["difference"], float(p_value))


def compare_decisions(
    first_correct: ArrayLike, second_correct: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> PairedComparison:
    """Compare the numbers of correct decisions of two classifiers, by McNemar's exact test.

    Args:
        first_correct, second_correct: `(n,)` bool.
        patients: `(n,)` str, the unit that the interval resamples.
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or there is no image.

    Example:
        >>> comparison = compare_decisions([True] * 8, [True] * 2 + [False] * 6, list("abcdefgh"))
        >>> comparison.difference.value, comparison.p_value
        (-0.75, 0.03125)
    """
    from statsmodels.stats.contingency_tables import mcnemar

    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    require_same_shape(first=first, second=second, patients=patients)
    table = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
    difference = estimate_mean(second.astype(np.float64) - first, patients, seed=seed)
    return PairedComparison("McNemar, exact", difference, float(mcnemar(table, exact=True).pvalue))
