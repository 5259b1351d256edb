"""Operating points: decision thresholds on the probability of the positive class, or of each finding.

    balanced    highest mean of sensitivity and specificity
    screening   highest specificity at a sensitivity of 97 %; at most `balanced`
    specific    highest sensitivity at a specificity of 95 %; at least `balanced`

The limits keep the three in order if the classes are nearly separable. An image is positive when
`probability >= threshold`. Choose thresholds on validation, never on test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate
from pneumoscope.labels import UNKNOWN, LabelSet
from pneumoscope.metrics.intervals import estimate, require_same_shape

POINTS = ("screening", "balanced", "specific")
SCREENING_SENSITIVITY = 0.97
SPECIFIC_SPECIFICITY = 0.95


@dataclass(frozen=True)
class BinaryCases:
    """The images with a known label of one class.

    Attributes:
        rows: `(n,)` bool, whether the label is known.
        labels: `(m,)` int64, 1 = positive, 0 = negative.
        scores: `(m,)` floats in [0, 1], probability of the class.
    """

    rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    @property
    def is_decidable(self) -> bool:
        """Whether both labels occur."""
        return set(self.labels.tolist()) == {0, 1}


def list_decided(labels: np.ndarray, probabilities: np.ndarray, label_set: LabelSet) -> dict[str, BinaryCases]:
    """Return the classes that have thresholds: `positive`, or all findings; none without a negative class.

    Args:
        labels: `(n,)` ints, index of the class, or -1. Multi-label: `(n, classes)` ints, 1, 0, or -1.
        probabilities: `(n, classes)` floats in [0, 1].
        label_set: the classes.

    Example:
        >>> cases = list_decided(np.array([0, 2]), np.eye(3)[[0, 1]], LabelSet(("well", "flu", "cold"), "well"))
        >>> cases["abnormal"].labels, cases["abnormal"].scores
        (array([0, 1]), array([0., 1.]))
    """
    if label_set.multi_label:
        known = labels != UNKNOWN
        return {
            name: BinaryCases(
                known[:, column], *(values[known[:, column], column] for values in (labels, probabilities))
            )
            for column, name in enumerate(label_set.classes)
        }
    if label_set.positive is None or label_set.negative is None:
        return {}
    rows = labels != UNKNOWN
    positive = (labels[rows] != label_set.classes.index(label_set.negative)).astype(np.int64)
    return {label_set.positive: BinaryCases(rows, positive, label_set.score_positive(probabilities[rows]))}


def choose_operating_points(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Return the thresholds `screening`, `balanced` and `specific`.

    Args:
        labels: `(n,)` ints, 1 = positive, 0 = negative; both occur.
        probabilities: `(n,)` floats in [0, 1], probability of the positive class.

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
    positives, negatives = np.sort(probabilities[labels == 1]), np.sort(probabilities[labels == 0])
    scores = np.unique(probabilities)
    # All thresholds between two scores give the same decisions; take the midpoint.
    between = (scores[1:] + scores[:-1]) / 2 if len(scores) > 1 else scores
    sensitivity = 1 - np.searchsorted(positives, between) / len(positives)
    specificity = np.searchsorted(negatives, between) / len(negatives)
    balance = sensitivity + specificity
    best = between[balance >= balance.max() - 1e-9]
    specific = between[specificity >= SPECIFIC_SPECIFICITY]
    missed = int(np.floor((1 - SCREENING_SENSITIVITY) * len(positives) + 1e-9))
    balanced = float(best[len(best) // 2])
    return {
        "screening": min(float(positives[missed]), balanced),
        "balanced": balanced,
        "specific": max(float(specific[0] if len(specific) else np.nextafter(scores[-1], np.inf)), balanced),
    }


def estimate_specificity(
    labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> Estimate:
    """Return the specificity at a sensitivity of 97 % on the ROC curve.

    The threshold is chosen in each resample. The metric therefore describes the ranking, not a fixed threshold.

    Args:
        labels: `(n,)` ints, 1 = positive, 0 = negative.
        probabilities: `(n,)` floats, probability of the positive class.
        patients, seed: of the bootstrap, see `estimate`.

    Raises:
        ValueError: if the shapes differ or there are no images.

    Example:
        >>> estimate_specificity([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], list("abcd")).value
        0.5
    """
    positive, probabilities = np.asarray(labels) == 1, np.asarray(probabilities, dtype=np.float64)
    require_same_shape(labels=positive, probabilities=probabilities, patients=patients)
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        hits = np.cumsum(weights[:, order] * positive[order], axis=1)[:, last]
        alarms = np.cumsum(weights[:, order] * ~positive[order], axis=1)[:, last]
        first = (hits >= SCREENING_SENSITIVITY * hits[:, -1:] - 1e-9).argmax(axis=1)
        with np.errstate(invalid="ignore"):
            specificity = 1 - alarms[np.arange(len(weights)), first] / alarms[:, -1]
        return {"specificity": np.where(hits[:, -1] > 0, specificity, np.nan)}

    return estimate(compute, patients, counts={"specificity": int((~positive).sum())}, seed=seed)["specificity"]
