"""Calibration of probabilities, with bootstrap resamples of the fit.

    single-label    vector scaling with a scale that all classes share. The fit weights the classes by a prior, so
                    calibrated probabilities hold for a population with these class frequencies
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


def fit_calibration(
    outputs: np.ndarray,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    seed: int = 0,
    prior: np.ndarray | None = None,
    members: np.ndarray | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> np.ndarray:
    """Fit a calibration on held-out images.

    If a class has no image, the calibration changes nothing. The same holds for each finding of a multi-label set
    without images both with and without it.

    Args:
        outputs: `(n, classes)` floats in (0, 1]: outputs of the model. Rows sum to 1 if the classes are single-label.
        labels: `(n,)` ints, index of the true class. Multi-label: `(n, classes)` ints, 1 = present, 0 = absent, -1 =
            unknown.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.
        prior: `(classes,)` floats that sum to 1, class frequencies of the population for which probabilities are
            calibrated, see `LabelSet.prior`; by default the same for all classes. Multi-label: ignored.
        members: `(groups, classes)` bool, the groups that the labels are about, if the classes inside them are unknown;
            each class is in one group. `labels` are then indices of groups. Classes of a group share one offset.
        num_resamples: number of bootstrap resamples.

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
        groups = np.eye(outputs.shape[1]) if members is None else members.astype(np.float64)
        prior = np.full(outputs.shape[1], 1 / outputs.shape[1]) if prior is None else prior
        return _fit_resamples(outputs, labels, patients, seed, groups, prior=prior, num_resamples=num_resamples)
    columns = []
    for truth, probability in zip(labels.T, outputs.T, strict=True):
        known = truth != UNKNOWN
        pair = np.stack([1 - probability, probability], axis=1)[known]
        columns.append(_fit_resamples(pair, truth[known], patients[known], seed, np.eye(2)))
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


def weigh_groups(labels: np.ndarray, members: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return `(..., n)` weights that sum to 1 and give each group the prior of its classes.

    Args:
        labels: `(n,)` ints, index of the group.
        members: `(groups, classes)`, 1 if the class is in the group, else 0.
        weights: `(..., n)` floats. The result is NaN where a group has a weight of 0.
        prior: `(classes,)` floats that sum to 1.
    """
    totals = weights @ np.eye(len(members))[labels]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights * (members @ prior / totals)[..., labels])


def fit_scores(
    scores: np.ndarray,
    labels: np.ndarray,
    shares: np.ndarray,
    members: np.ndarray,
    *,
    features: np.ndarray | None = None,
    strength: float = 0.0,
) -> np.ndarray:
    """Fit `softmax(scale * scores + offsets + features @ kernel)` by maximum likelihood of the groups of classes.

    Args:
        scores: `(n, classes)` float64, log probabilities.
        labels: `(n,)` ints, index of the group.
        shares: `(n,)` float64, weights that sum to 1.
        members: `(groups, classes)` float64, 1 if the class is in the group, else 0.
        features: `(n, d)` float64 of an additional linear term; None without one.
        strength: L2 penalty of the kernel; scale and offsets have the penalty `PENALTY` towards 1 and 0.

    Returns:
        `(1 + (1 + d) * groups,)` float64: the scale, the offset of each group, and the kernel `(d, groups)` flattened.
    """
    from scipy.optimize import minimize

    count = len(members)
    inputs = np.zeros((len(labels), 0)) if features is None else features
    neutral = np.zeros(1 + (1 + inputs.shape[1]) * count)
    neutral[0] = 1.0
    penalties = np.append(np.full(1 + count, PENALTY), np.full(inputs.shape[1] * count, strength))
    outside = members[labels] == 0

    def loss(fit: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = fit[0] * scores + (fit[1 : 1 + count] + inputs @ fit[1 + count :].reshape(-1, count)) @ members
        scaled -= scaled.max(axis=1, keepdims=True)
        weights = np.exp(scaled)
        inside = np.where(outside, 0, weights)
        gaps = shares[:, None] * (
            weights / weights.sum(axis=1, keepdims=True) - inside / inside.sum(axis=1, keepdims=True)
        )
        of_group = gaps @ members.T
        gradient = np.concatenate([[np.sum(gaps * scores)], of_group.sum(axis=0), (inputs.T @ of_group).ravel()])
        likelihood = shares @ np.log(inside.sum(axis=1) / weights.sum(axis=1))
        return float(penalties @ np.square(fit - neutral) - likelihood), gradient + 2 * penalties * (fit - neutral)

    bounds = [(MIN_SCALE, None), *[(None, None)] * (len(neutral) - 1)]
    return np.asarray(minimize(loss, neutral, jac=True, method="L-BFGS-B", bounds=bounds).x)


def _fit_resamples(
    outputs: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    seed: int,
    members: np.ndarray,
    *,
    prior: np.ndarray | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> np.ndarray:
    num_groups, num_classes = members.shape
    if len(set(labels.tolist())) < num_groups:
        return np.tile([1.0] + [0.0] * num_classes, (1 + num_resamples, 1))
    from threadpoolctl import threadpool_limits

    scores = np.log(np.maximum(outputs.astype(np.float64), MARGIN))
    groups, units = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)

    def fit(weights: np.ndarray) -> np.ndarray:
        shares = weights / weights.sum() if prior is None else weigh_groups(labels, members, weights, prior)
        fitted = fit_scores(scores, labels, shares, members)
        return np.append(fitted[0], fitted[1:] @ members)

    # Threads make the many small steps of the optimizer several times slower.
    with threadpool_limits(1, "blas"):
        fits = [fit(np.ones(len(labels)))]
        for _ in range(num_resamples):
            for _ in range(_MAX_DRAWS):
                weights = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))[units]
                present = np.bincount(labels, weights, minlength=num_groups) > 0
                if present.all():
                    break
            # A class of very few patients keeps its images if no draw has one of them.
            fits.append(fit(np.where(present[labels], weights, 1).astype(np.float64)))
    return np.array(fits)
