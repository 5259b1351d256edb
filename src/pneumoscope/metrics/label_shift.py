"""How frequent the classes are among images that nobody has labelled, and probabilities that take it into account.

Source: M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities", Neural Computation 14, 2002: expectation and maximization in turn. It takes for granted that each class
looks as it did in training and that only the shares differ, and that probabilities are calibrated; where the images
are of another kind, the shares it finds are wrong.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import LabelShift
from pneumoscope.metrics.intervals import estimate

MIN_IMAGES = 50
NUM_STEPS = 1000
TOLERANCE = 1e-5


def estimate_label_shift(
    probabilities: np.ndarray,
    patients: ArrayLike,
    *,
    classes: tuple[str, ...],
    known_shares: ArrayLike | None = None,
    seed: int = 0,
) -> LabelShift:
    """Estimate the shares of the classes from calibrated probabilities alone.

    Args:
        probabilities: `(n, classes)` floats in [0, 1], rows sum to 1; 50 images or more.
        patients: `(n,)` str, the unit that the intervals resample.
        classes: class names, in the order of the columns.
        known_shares: `(classes,)` floats, the shares that the probabilities stand for; equal ones by default.
        seed: of the resampling.

    Raises:
        ValueError: if there are fewer than 50 images, or the shapes differ.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes) or len(probabilities) < MIN_IMAGES:
        expected = f"({MIN_IMAGES} or more, {len(classes)})"
        raise ValueError(f"probabilities are {probabilities.shape}, expected {expected} to tell shares from")
    before = np.full(len(classes), 1 / len(classes)) if known_shares is None else np.asarray(known_shares)
    shares = estimate(
        lambda weights: dict(zip(classes, _maximize(probabilities, before, weights).T, strict=True)),
        patients,
        seed=seed,
    )
    after = np.array([shares[name].value for name in classes])
    return LabelShift(shares=shares, probabilities=apply_shares(probabilities, before, after))


def apply_shares(probabilities: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return `(n, classes)` probabilities for other shares of the classes than those they stand for.

    Args:
        probabilities: `(n, classes)` floats in [0, 1].
        before, after: `(classes,)` floats, above 0 and not below 0.

    Example:
        >>> apply_shares(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.9, 0.1]))
        array([[0.9, 0.1]])
    """
    scaled = probabilities * (after / before)
    return scaled / scaled.sum(axis=1, keepdims=True)


def _maximize(probabilities: np.ndarray, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `(r, classes)`, the likeliest shares for each row of weights."""
    shares = np.repeat(before[None], len(weights), axis=0)
    totals = weights.sum(axis=1, keepdims=True)
    for _ in range(NUM_STEPS):
        ratios = shares / before
        found = ratios * ((weights / np.maximum(ratios @ probabilities.T, 1e-300)) @ probabilities) / totals
        moved = np.abs(found - shares).max()
        shares = found
        if moved < TOLERANCE:
            break
    return shares
