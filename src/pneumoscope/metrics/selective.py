"""Answering only what is sure: accuracy against the share of images that are answered.

Source: Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017. The area under
the risk-coverage curve is the mean, over all shares answered, of the share of wrong answers.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import SelectiveCurve
from pneumoscope.metrics.intervals import estimate

SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)


def measure_selective(
    right: ArrayLike, confidences: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> SelectiveCurve:
    """Return how accuracy grows as the least sure answers are withheld.

    Args:
        right: `(n,)` bool, whether the answer is right.
        confidences: `(n,)` floats, larger = surer; images that are equally sure are answered together.
        patients: `(n,)` str, the unit that the intervals resample.
        seed: of the resampling.

    Raises:
        ValueError: if there is no image, or the shapes differ.

    Example:
        >>> curve = measure_selective([True, False], [0.9, 0.6], ["a", "b"])
        >>> curve.accuracies, curve.area.value
        (array([1. , 0.5]), 0.25)
    """
    right, confidences = np.asarray(right, dtype=bool), np.asarray(confidences, dtype=np.float64)
    if not right.shape == confidences.shape == np.shape(patients) or right.ndim != 1:
        shapes = f"answers are {right.shape}, confidences {confidences.shape}, patients {np.shape(patients)}"
        raise ValueError(f"{shapes}, expected the same shape (n,)")
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = -confidences[order]
    last_equal = np.searchsorted(sorted_confidences, sorted_confidences, side="right") - 1

    def follow(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drawn = weights[:, order]
        answered = np.cumsum(drawn, axis=1)[:, last_equal]
        wrong = np.cumsum(drawn * ~right[order], axis=1)[:, last_equal]
        # Before the first image that a resample drew nothing is answered, and nothing weighs.
        return drawn, answered / weights.sum(axis=1, keepdims=True), wrong / np.maximum(answered, 1)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        drawn, shares, risks = follow(weights)
        rows = np.arange(len(weights))
        found = {"area": (drawn * risks).sum(axis=1) / weights.sum(axis=1)}
        for share in SHARES:
            found[str(share)] = 1 - risks[rows, (shares >= share - 1e-9).argmax(axis=1)]
        return found

    counts = {str(share): int(np.ceil(share * len(right) - 1e-9)) for share in SHARES}
    found = estimate(figures, patients, counts=counts, seed=seed)
    _, shares, risks = follow(np.ones((1, len(right))))
    ends = np.unique(last_equal)
    return SelectiveCurve(
        shares=shares[0, ends],
        accuracies=1 - risks[0, ends],
        area=found["area"],
        at_shares={share: found[str(share)] for share in SHARES},
    )
