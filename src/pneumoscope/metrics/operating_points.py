"""Where to put the threshold between normal and pneumonia, by what a reader wants of it.

    balanced    highest mean of sensitivity and specificity
    screening   finds 97 % of the pneumonias, with as few false alarms as that allows; never above `balanced`
    specific    leaves 95 % of the normals in peace, and finds as many pneumonias as that allows; never below `balanced`

Where classes are nearly told apart, the promises alone would put `specific` under `screening`.

A case counts as pneumonia when `probability >= threshold`. Choose on validation, never on test.
"""

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate
from pneumoscope.metrics.intervals import estimate

SCREENING_SENSITIVITY = 0.97
SPECIFIC_SPECIFICITY = 0.95


def choose_operating_points(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Return the thresholds `screening`, `balanced` and `specific`.

    Args:
        labels: `(n,)` ints, 1 = pneumonia, 0 = normal; both occur.
        probabilities: `(n,)` floats in [0, 1], of pneumonia.

    Raises:
        ValueError: if the shapes differ or a class is missing.

    Example:
        >>> choose_operating_points([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.9])
        {'screening': 0.5, 'balanced': 0.5, 'specific': 0.5}
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or set(labels.tolist()) != {0, 1}:
        raise ValueError(
            f"labels are {labels.shape} with values {sorted(set(labels.tolist()))} and probabilities "
            f"{probabilities.shape}, expected the same shape and both 0 and 1"
        )
    sick, normal = np.sort(probabilities[labels == 1]), np.sort(probabilities[labels == 0])
    scores = np.unique(probabilities)
    # Between two scores every threshold decides alike: their middle is the one furthest from both.
    between = (scores[1:] + scores[:-1]) / 2
    sensitivity = 1 - np.searchsorted(sick, between) / len(sick)
    specificity = np.searchsorted(normal, between) / len(normal)
    balance = sensitivity + specificity
    best = between[balance >= balance.max() - 1e-9]
    specific = between[specificity >= SPECIFIC_SPECIFICITY]
    missed = int(np.floor((1 - SCREENING_SENSITIVITY) * len(sick) + 1e-9))
    balanced = float(best[len(best) // 2])
    return {
        "screening": min(float(sick[missed]), balanced),
        "balanced": balanced,
        "specific": max(float(specific[0] if len(specific) else np.nextafter(scores[-1], np.inf)), balanced),
    }


def estimate_specificity(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    *,
    sensitivity: float = SCREENING_SENSITIVITY,
    seed: int = 0,
) -> Estimate:
    """Return the specificity where so many pneumonias are found, by the ROC curve of these very images.

    Each resample has a threshold of its own, so that this describes the ranking and is no figure of a threshold.

    Args:
        labels: `(n,)` ints, 1 = pneumonia, 0 = normal.
        probabilities: `(n,)` floats, of pneumonia.
        patients: `(n,)` str, the unit that the interval resamples.
        sensitivity: share of the pneumonias that are found at least, in (0, 1].
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or there is no image.

    Example:
        >>> estimate_specificity([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], list("abcd")).value
        0.5
    """
    sick, probabilities = np.asarray(labels) == 1, np.asarray(probabilities, dtype=np.float64)
    if not sick.shape == probabilities.shape == np.shape(patients):
        raise ValueError(f"labels are {sick.shape}, probabilities {probabilities.shape}, patients {np.shape(patients)}")
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = np.cumsum(weights[:, order] * sick[order], axis=1)[:, last]
        alarms = np.cumsum(weights[:, order] * ~sick[order], axis=1)[:, last]
        first = (found >= sensitivity * found[:, -1:] - 1e-9).argmax(axis=1)
        with np.errstate(invalid="ignore"):
            specificity = 1 - alarms[np.arange(len(weights)), first] / alarms[:, -1]
        return {"specificity": np.where(found[:, -1] > 0, specificity, np.nan)}

    return estimate(figures, patients, counts={"specificity": int((~sick).sum())}, seed=seed)["specificity"]
