"""Contiguous error runs: most images of one class in a range of file names are misclassified.

Such images may have been acquired or labeled differently.
"""

import numpy as np

from pneumoscope.evaluation.predictor import find_correct
from pneumoscope.evaluation.subgroups import list_classes
from pneumoscope.io.results import ErrorRun, EvaluatedImages
from pneumoscope.metrics.error_runs import list_runs, order_names, smooth_along

# Standard deviation of the Gaussian smoothing along the file names, in patients.
REACH = 3.0
# A patient is part of a run when the smoothed share of misclassified images is at least this.
MIN_ERROR_SHARE = 0.5
MIN_PATIENTS = 20
NUM_PERMUTATIONS = 999
SIGNIFICANCE_LEVEL = 0.01


def find_error_runs(images: EvaluatedImages, thresholds: dict[str, float], *, seed: int = 0) -> list[ErrorRun]:
    """Return the significant contiguous error runs of each class.

    An image is misclassified in two cases: its decision at the thresholds is wrong, or another positive class is more
    probable than its own. In a multi-label set, an image with a finding is misclassified if the finding is missed. A
    permutation test over patients decides whether a run is significant.

    Args:
        images: the evaluated images.
        thresholds: by name, of the operating point.
        seed: seed of the permutations.
    """
    label_set, labels = images.label_set, images.labels
    wrong = ~find_correct(images, thresholds)
    if label_set.positive:
        positives = [number for number, name in enumerate(label_set.classes) if name != label_set.negative]
        likeliest = np.array(positives)[images.probabilities[:, positives].argmax(axis=1)]
        wrong |= np.isin(labels, positives) & (likeliest != labels)
    missed = {}
    if label_set.multi_label:
        below = images.probabilities < [thresholds[name] for name in label_set.classes]
        missed = dict(zip(label_set.classes, below.T, strict=True))
    runs = []
    for name, rows in list_classes(images).items():
        runs += _find_in_class(name, images.names[rows], images.patients[rows], missed.get(name, wrong)[rows], seed)
    return runs


def _find_in_class(
    class_name: str, names: np.ndarray, patients: np.ndarray, wrong: np.ndarray, seed: int
) -> list[ErrorRun]:
    order = order_names(names.tolist())
    names, wrong = names[order], wrong[order]
    unique, first, members = np.unique(patients[order], return_index=True, return_inverse=True)
    if len(unique) < MIN_PATIENTS:
        return []
    place = np.argsort(np.argsort(first))[members]  # rank of each image's patient in the order of names
    shares = np.bincount(place, wrong) / np.bincount(place)
    permuted_shares = np.random.default_rng(seed).permuted(np.tile(shares, (NUM_PERMUTATIONS, 1)), axis=1)
    smoothed = smooth_along(np.concatenate([shares[None], permuted_shares]).T, reach=REACH)
    longest = [
        max((weight for _, _, weight in _weigh_runs(column, permuted)), default=0.0)
        for column, permuted in zip(smoothed.T[1:], permuted_shares, strict=True)
    ]
    runs = []
    for start, end, weight in _weigh_runs(smoothed[:, 0], shares):
        p_value = (1 + sum(other >= weight - 1e-9 for other in longest)) / (1 + NUM_PERMUTATIONS)
        if p_value <= SIGNIFICANCE_LEVEL:
            rows = np.flatnonzero((place >= start) & (place <= end))
            num_wrong = int(wrong[rows].sum())
            first_name, last_name = str(names[rows[0]]), str(names[rows[-1]])
            runs.append(ErrorRun(class_name, first_name, last_name, len(rows), num_wrong, p_value))
    return runs


def _weigh_runs(smoothed: np.ndarray, shares: np.ndarray) -> list[tuple[int, int, float]]:
    """Return the first and last patient of each run, and its number of misclassified patients."""
    runs = list_runs(smoothed >= MIN_ERROR_SHARE)
    return [(start, end, float(shares[start : end + 1].sum())) for start, end in runs]
