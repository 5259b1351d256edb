"""Calibration of probabilities, with bootstrap resamples of the fit.

    single-label    vector scaling with a scale that all classes share. The fit weights classes equally, so calibrated
                    probabilities hold for equal class prevalence
    multi-label     a scale and an offset per finding (Platt scaling). Calibrated probabilities hold for the prevalence
                    of the images of the fit

Sources: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017; J. Platt,
"Probabilistic Outputs for Support Vector Machines", 1999.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.labels import UNKNOWN

NUM_RESAMPLES = 100
# A scale below zero would reverse the model: it fits validation images on which the model is worse than chance.
MIN_SCALE = 0.01
# For separable classes the maximum-likelihood scale is infinite; the penalty keeps it near 1.
PENALTY = 1e-3
MARGIN = 1e-7
_MAX_DRAWS = 100


def fit_calibration(outputs: np.ndarray, labels: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Fit a calibration on held-out images.

    If a class has no image, the calibration changes nothing. The same holds for each finding of a multi-label set
    without images both with and without it.

    Args:
        outputs: `(n, classes)` floats in (0, 1]: outputs of the model. Rows sum to 1 if the classes are single-label.
        labels: `(n,)` ints, index of the true class. Multi-label: `(n, classes)` ints, 1 = present, 0 = absent, -1 =
            unknown.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `(101, 1 + classes)` float64, a scale and the offset of each class. Multi-label: `(101, 2 * classes)` float64,
        scales, then offsets. Row 0 is the fit on all images, rows 1 to 100 are fits on bootstrap resamples of the
        patients.

    Raises:
        ValueError: if the shapes differ.
    """
    labels, patients = np.asarray(labels, dtype=np.int64), np.asarray(patients, dtype=str)
    shapes = (outputs.shape, outputs.shape[:1])
    if outputs.ndim != 2 or labels.shape not in shapes or patients.shape != outputs.shape[:1]:
        raise ValueError(
            f"outputs are {outputs.shape}, labels {labels.shape}, patients {patients.shape}; "
            "expected (n, classes), (n,) or (n, classes), (n,)"
        )
    if labels.ndim == 1:
        return _fit_resamples(outputs, labels, patients, seed, balanced=True)
    columns = []
    for truth, probability in zip(labels.T, outputs.T, strict=True):
        known = truth != UNKNOWN
        pair = np.stack([1 - probability, probability], axis=1)[known]
        columns.append(_fit_resamples(pair, truth[known], patients[known], seed, balanced=False))
    fits = np.stack(columns, axis=1)
    return np.concatenate([fits[..., 0], fits[..., 2] - fits[..., 1]], axis=1)


def calibrate(outputs: np.ndarray, fits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities.

    They are `softmax(scale * log(outputs) + offsets)`, or `sigmoid(scales * logit(outputs) + offsets)` if multi-label.

    Args:
        outputs: `(n, classes)` floats in (0, 1].
        fits: `(m, 1 + classes)` float64, scale and offsets per row. Multi-label: `(m, 2 * classes)` float64.

    Returns:
        `(m, n, classes)` float64.

    Example:
        >>> calibrate(np.array([[0.2, 0.8]]), np.array([[1.0, 0.0, 0.0]])).round(3)
        array([[[0.2, 0.8]]])
        >>> calibrate(np.array([[0.2, 0.8]]), np.array([[1.0, 1.0, 0.0, 0.0]])).round(3)
        array([[[0.2, 0.8]]])
    """
    outputs, num_classes = outputs.astype(np.float64), outputs.shape[1]
    if fits.shape[1] == 2 * num_classes:
        inside = np.clip(outputs, MARGIN, 1 - MARGIN)
        scales, offsets = fits[:, None, :num_classes], fits[:, None, num_classes:]
        return np.asarray(1 / (1 + np.exp(-scales * np.log(inside / (1 - inside)) - offsets)))
    # Log probabilities are at most 0, and the largest of each row is near 0: the softmax is numerically stable.
    weights = np.exp(fits[:, None, :1] * np.log(outputs) + fits[:, None, 1:])
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _fit_resamples(
    outputs: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int, *, balanced: bool
) -> np.ndarray:
    num_classes = outputs.shape[1]
    if len(set(labels.tolist())) < num_classes:
        return np.tile([1.0] + [0.0] * num_classes, (1 + NUM_RESAMPLES, 1))
    from threadpoolctl import threadpool_limits

    scores = np.log(np.maximum(outputs.astype(np.float64), MARGIN))
    groups, members = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    # Threads make the many small steps of the optimizer several times slower.
    with threadpool_limits(1, "blas"):
        fits = [_fit(scores, labels, np.ones(len(labels)), balanced)]
        for _ in range(NUM_RESAMPLES):
            for _ in range(_MAX_DRAWS):
                weights = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))[members]
                present = np.bincount(labels, weights, minlength=num_classes) > 0
                if present.all():
                    break
            # A class of very few patients keeps its images if no draw has one of them.
            fits.append(_fit(scores, labels, np.where(present[labels], weights, 1).astype(np.float64), balanced))
    return np.array(fits)


def _fit(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, balanced: bool) -> np.ndarray:
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    num_classes = scores.shape[1]
    shares = weights / weights.sum()
    if balanced:
        shares = weights / np.bincount(labels, weights, minlength=num_classes)[labels] / num_classes
    neutral = np.array([1.0] + [0.0] * num_classes)
    targets = np.eye(num_classes)[labels]

    def loss(fit: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(fit[0] * scores + fit[1:], axis=1)
        gaps = shares[:, None] * (np.exp(logs) - targets)
        gradient = np.concatenate([[np.sum(gaps * scores)], gaps.sum(axis=0)]) + 2 * PENALTY * (fit - neutral)
        value = -(shares * logs[np.arange(len(logs)), labels]).sum() + PENALTY * np.square(fit - neutral).sum()
        return float(value), gradient

    bounds = [(MIN_SCALE, None), *[(None, None)] * (len(neutral) - 1)]
    return np.asarray(minimize(loss, neutral, jac=True, method="L-BFGS-B", bounds=bounds).x)
