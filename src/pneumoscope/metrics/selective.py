"""Selective classification: accuracy as a function of coverage when the least confident predictions are withheld.

Source: Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017. The area under
the risk-coverage curve is the error rate averaged over all coverages.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import SelectiveCurve
from pneumoscope.metrics.intervals import estimate, require_same_shape

SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)


def measure_selective(
    correct: ArrayLike, confidences: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> SelectiveCurve:
    """Return accuracy by coverage, and the area under the risk-coverage curve.

    Args:
        correct: `(n,)` bool, whether the prediction is correct.
        confidences: `(n,)` floats; images of equal confidence are accepted or withheld together.
        patients, seed: of the bootstrap, see `estimate`.

    Raises:
        ValueError: if there are no images, or the shapes differ.

    Example:
        >>> curve = measure_selective([True, False], [0.9, 0.6], ["a", "b"])
        >>> curve.accuracies, curve.area.value
        (array([1. , 0.5]), 0.25)
    """
    correct, confidences = np.asarray(correct, dtype=bool), np.asarray(confidences, dtype=np.float64)
    require_same_shape(correct=correct, confidences=confidences, patients=patients)
    order = np.argsort(-confidences, kind="stable")
    wrong, ascending = ~correct[order], -confidences[order]
    last_equal = np.searchsorted(ascending, ascending, side="right") - 1

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        ordered = weights[:, order]
        shares, risks = _follow_curve(ordered, wrong, last_equal)
        metrics = {"area": (ordered * risks).sum(axis=1) / ordered.sum(axis=1)}
        for share in SHARES:
            metrics[str(share)] = 1 - risks[np.arange(len(weights)), (shares >= share - 1e-9).argmax(axis=1)]
        return metrics

    counts = {str(share): int(np.ceil(share * len(correct) - 1e-9)) for share in SHARES}
    metrics = estimate(compute, patients, counts=counts, seed=seed)
    shares, risks = _follow_curve(np.ones((1, len(correct))), wrong, last_equal)
    ends = np.unique(last_equal)
    return SelectiveCurve(
        shares=shares[0, ends],
        accuracies=1 - risks[0, ends],
        area=metrics["area"],
        at_shares={share: metrics[str(share)] for share in SHARES},
    )


def _follow_curve(weights: np.ndarray, wrong: np.ndarray, last_equal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coverage and error rate down to each image in order of confidence, `(r, n)` each."""
    answered = np.cumsum(weights, axis=1)[:, last_equal]
    errors = np.cumsum(weights * wrong, axis=1)[:, last_equal]
    # The maximum avoids division by zero before the first image of a resample; those positions have no weight.
    return answered / weights.sum(axis=1, keepdims=True), errors / np.maximum(answered, 1)
