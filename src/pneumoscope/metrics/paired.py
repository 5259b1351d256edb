"""Paired comparison of two classifiers on the same images.

Sources: E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics 44, 1988 (AUROC); Q. McNemar, Psychometrika 12, 1947
(decisions), exact version. Both tests assume independent images, so p-values are too small if patients have several
images. The interval of the difference is a bootstrap over patients.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import PairedComparison
from pneumoscope.metrics.intervals import estimate, estimate_mean, require_same_shape
from pneumoscope.metrics.weighted import weigh_rankings


def compare_rankings(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> PairedComparison:
    """Compare the AUROC of two scores by DeLong's test; the difference is `second - first`.

    Args:
        labels: `(n,)` ints, 1 = positive, 0 = negative; both occur.
        first, second: `(n,)` floats; higher scores indicate the positive class.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

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
        earlier, later = (weigh_rankings([(labels == 1, values)], weights)["auroc"] for values in scores)
        return {"difference": later - earlier}

    # Equal rankings have zero variance, by which the test divides.
    same = np.array_equal(*(rankdata(values) for values in scores))
    p_value = 1.0 if same else Delong_test(labels, *scores, return_ci=False, return_auc=False, random_state=seed)[1]
    return PairedComparison("DeLong", estimate(compute, patients, seed=seed)["difference"], float(p_value))


def compare_decisions(
    first_correct: ArrayLike, second_correct: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> PairedComparison:
    """Compare the accuracy of two classifiers by McNemar's exact test; the difference is `second - first`.

    Args:
        first_correct, second_correct: `(n,)` bool, whether each decision is correct.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: if the shapes differ or there are no images.

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
