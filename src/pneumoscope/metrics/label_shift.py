"""Label shift: estimates class prevalence from unlabeled images and corrects probabilities for it.

Source: M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities", Neural Computation 14, 2002 (expectation-maximization). The method assumes calibrated probabilities, and
images of each class distributed as in training. If these assumptions fail, the estimates are biased.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import LabelShift
from pneumoscope.metrics.intervals import estimate

MIN_IMAGES = 50
NUM_STEPS = 1000
TOLERANCE = 1e-5


def estimate_label_shift(
    probabilities: np.ndarray, patients: ArrayLike, *, classes: tuple[str, ...], prior: ArrayLike = (), seed: int = 0
) -> LabelShift:
    """Estimate the class prevalence from calibrated probabilities.

    Args:
        probabilities: `(n, classes)` floats in [0, 1], rows sum to 1; `n` is 50 or more.
        patients: `(n,)` str, the unit of the bootstrap.
        classes: class names, in the order of the columns.
        prior: `(classes,)` floats, the prevalence for which the probabilities hold; empty for equal prevalence.
        seed: of the bootstrap.

    Raises:
        ValueError: if there are fewer than 50 images, or the shapes differ.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes) or len(probabilities) < MIN_IMAGES:
        expected = f"({MIN_IMAGES} or more, {len(classes)})"
        raise ValueError(f"probabilities are {probabilities.shape}, expected {expected} to estimate prevalence")
    before = np.asarray(prior if np.size(prior) else np.full(len(classes), 1 / len(classes)), dtype=np.float64)
    shares = estimate(
        lambda weights: dict(zip(classes, _maximize(probabilities, before, weights).T, strict=True)),
        patients,
        seed=seed,
    )
    scaled = probabilities * (np.array([shares[name].value for name in classes]) / before)
    return LabelShift(shares=shares, probabilities=scaled / scaled.sum(axis=1, keepdims=True))


def _maximize(probabilities: np.ndarray, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `(r, classes)`, the maximum-likelihood prevalence for each row of weights."""
    shares = np.repeat(before[None], len(weights), axis=0)
    totals = weights.sum(axis=1, keepdims=True)
    for _ in range(NUM_STEPS):
        ratios, previous = shares / before, shares
        shares = ratios * ((weights / np.maximum(ratios @ probabilities.T, 1e-300)) @ probabilities) / totals
        if np.abs(shares - previous).max() < TOLERANCE:
            break
    return shares
