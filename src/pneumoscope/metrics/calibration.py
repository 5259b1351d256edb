"""Calibration of probabilities by vector scaling with a shared scale, with bootstrap resamples of the fit.

Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017; here all
classes share one scale. The fit weights classes equally, so calibrated probabilities hold for equal class prevalence.
"""

import numpy as np
from numpy.typing import ArrayLike

NUM_RESAMPLES = 100
# For separable classes the maximum-likelihood scale is infinite; the penalty keeps it near 1.
PENALTY = 1e-3


def fit_calibration(outputs: np.ndarray, labels: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Fit scale and offsets on held-out images.

    Args:
        outputs: `(n, classes)` floats in (0, 1], rows sum to 1: outputs of the model.
        labels: `(n,)` ints, index of the true class; every class occurs.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `(101, 1 + classes)` float64, scale and offsets per row: row 0 is the fit on all images, rows 1 to 100 are fits
        on bootstrap resamples of the patients.

    Raises:
        ValueError: if the shapes differ or a class is missing.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if outputs.ndim != 2 or len(outputs) != len(labels) or np.shape(patients) != labels.shape:
        raise ValueError(
            f"outputs are {outputs.shape}, labels {labels.shape}, patients {np.shape(patients)}; "
            "expected (n, classes), (n,), (n,)"
        )
    if set(labels.tolist()) != set(range(outputs.shape[1])):
        raise ValueError(f"labels hold {sorted(set(labels.tolist()))}, expected all of 0 to {outputs.shape[1] - 1}")
    scores = np.log(outputs.astype(np.float64))
    groups, members = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    fits = [_fit(scores, labels, np.ones(len(labels)))]
    while len(fits) <= NUM_RESAMPLES:
        weights = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))[members]
        if all(weights[labels == label].any() for label in range(outputs.shape[1])):
            fits.append(_fit(scores, labels, weights.astype(np.float64)))
    return np.array(fits)


def calibrate(outputs: np.ndarray, fits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities `softmax(scale * log(outputs) + offsets)`.

    Args:
        outputs: `(n, classes)` floats in (0, 1].
        fits: `(m, 1 + classes)` float64, scale and offsets per row.

    Returns:
        `(m, n, classes)` float64; rows sum to 1.

    Example:
        >>> calibrate(np.array([[0.2, 0.8]]), np.array([[1.0, 0.0, 0.0]])).round(3)
        array([[[0.2, 0.8]]])
    """
    # Log probabilities are at most 0, and the largest of each row is near 0: the softmax is numerically stable.
    weights = np.exp(fits[:, None, :1] * np.log(outputs.astype(np.float64)) + fits[:, None, 1:])
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _fit(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    num_classes = scores.shape[1]
    shares = weights / np.bincount(labels, weights, minlength=num_classes)[labels] / num_classes
    neutral = np.array([1.0] + [0.0] * num_classes)
    targets = np.eye(num_classes)[labels]

    def loss(fit: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = fit[0] * scores + fit[1:]
        scaled -= scaled.max(axis=1, keepdims=True)
        logs = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        gaps = shares[:, None] * (np.exp(logs) - targets)
        gradient = np.concatenate([[np.sum(gaps * scores)], gaps.sum(axis=0)]) + 2 * PENALTY * (fit - neutral)
        value = -(shares * logs[np.arange(len(logs)), labels]).sum() + PENALTY * np.square(fit - neutral).sum()
        return float(value), gradient

    return np.asarray(minimize(loss, neutral, jac=True, method="L-BFGS-B").x)
