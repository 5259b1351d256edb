"""Contiguous errors along the file names: images there may have been made or labeled differently."""

import numpy as np

from pneumoscope.evaluation.subgroups import list_classes
from pneumoscope.io.results import ErrorRun, EvaluatedImages
from pneumoscope.metrics.error_runs import list_runs, order_names, smooth_along

# Standard deviation, in patients, of the weights of the patients around a patient.
REACH = 3.0
# Share of misclassified patients around a patient, from which on the patient lies in a run.
LIMIT = 0.5
FEWEST_PATIENTS = 20
NUM_SHUFFLES = 999
LEVEL = 0.01


def find_error_runs(images: EvaluatedImages, threshold: float, *, seed: int = 0) -> list[ErrorRun]:
    """Return runs of file names in which most images of one class are misclassified, beyond chance.

    An image is misclassified if its probability of pneumonia is on the wrong side of `threshold` (a case counts as
    pneumonia when its probability reaches it), or if it is a pneumonia whose labeled subtype is the less probable of
    both. Permutations of the patients along the names, by `seed`, show how long runs are by chance.
    """
    flagged = images.scores >= threshold
    likelier = 1 + (images.probabilities[:, 2] > images.probabilities[:, 1])
    wrong = (flagged != (images.labels == 1)) | ((images.subtypes > 0) & (likelier != images.subtypes))
    runs = []
    for name, rows in list_classes(images).items():
        runs += _find_in_class(name, images.names[rows], images.patients[rows], wrong[rows], seed)
    return runs


def _find_in_class(
    class_name: str, names: np.ndarray, patients: np.ndarray, wrong: np.ndarray, seed: int
) -> list[ErrorRun]:
    order = order_names(names.tolist())
    names, wrong = names[order], wrong[order]
    unique, first, members = np.unique(patients[order], return_index=True, return_inverse=True)
    if len(unique) < FEWEST_PATIENTS:
        return []
    place = np.argsort(np.argsort(first))[members]  # of the patient of each image, in the order of the names
    shares = np.bincount(place, wrong) / np.bincount(place)
    shuffled = np.random.default_rng(seed).permuted(np.tile(shares, (NUM_SHUFFLES, 1)), axis=1)
    around = smooth_along(np.concatenate([shares[None], shuffled]).T, reach=REACH)
    longest = [
        max((weight for _, _, weight in _weigh_runs(column, permuted)), default=0.0)
        for column, permuted in zip(around.T[1:], shuffled, strict=True)
    ]
    runs = []
    for start, end, weight in _weigh_runs(around[:, 0], shares):
        p_value = (1 + sum(other >= weight - 1e-9 for other in longest)) / (1 + NUM_SHUFFLES)
        if p_value <= LEVEL:
            rows = np.flatnonzero((place >= start) & (place <= end))
            num_wrong = int(wrong[rows].sum())
            first_name, last_name = str(names[rows[0]]), str(names[rows[-1]])
            runs.append(ErrorRun(class_name, first_name, last_name, len(rows), num_wrong, p_value))
    return runs


def _weigh_runs(around: np.ndarray, shares: np.ndarray) -> list[tuple[int, int, float]]:
    """Return the first and last place of each run, and how many of its patients are misclassified."""
    return [(start, end, float(shares[start : end + 1].sum())) for start, end in list_runs(around >= LIMIT)]
