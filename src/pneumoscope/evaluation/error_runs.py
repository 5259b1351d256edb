"""Errors that stand together along the file names: where films were made or labelled otherwise than elsewhere."""

import numpy as np

from pneumoscope.io.results import ErrorRun, EvaluatedImages
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.error_runs import list_runs, order_names, smooth_along

# Standard deviation, in patients, of the weights with which those around one count.
REACH = 3.0
# Share of the patients around that are misread, from which on a patient lies in a stretch.
LIMIT = 0.5
FEWEST_PATIENTS = 20
NUM_SHUFFLES = 999
LEVEL = 0.01


def find_error_stretches(images: EvaluatedImages, threshold: float, *, seed: int = 0) -> list[ErrorRun]:
    """Return stretches of file names in which most images of one class are misread, more than chance explains.

    Misread is a normal called pneumonia, a pneumonia called normal, and one whose sub-type, where known, is the less
    probable of both. Patients are shuffled along the names to tell how long stretches get by chance.

    Args:
        images: all that were read.
        threshold: probability from which a case counts as pneumonia.
        seed: of the shuffling.
    """
    called = 1 - images.probabilities[:, 0] >= threshold
    likelier = 1 + (images.probabilities[:, 2] > images.probabilities[:, 1])
    wrong = (called != (images.labels == 1)) | ((images.subtypes > 0) & (likelier != images.subtypes))
    kinds = {name: images.subtypes == number for number, name in enumerate(THREE_CLASSES)}
    kinds["pneumonia, sub-type unknown"] = (images.labels == 1) & (images.subtypes < 0)
    found = []
    for kind, rows in kinds.items():
        found += _find_in_class(kind, images.names[rows], images.patients[rows], wrong[rows], seed)
    return found


def _find_in_class(kind: str, names: np.ndarray, patients: np.ndarray, wrong: np.ndarray, seed: int) -> list[ErrorRun]:
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
        max(_weigh_runs(column, drawn), default=0.0) for column, drawn in zip(around.T[1:], shuffled, strict=True)
    ]
    stretches = []
    runs = list_runs(around[:, 0] >= LIMIT)
    for (start, end), weight in zip(runs, _weigh_runs(around[:, 0], shares), strict=True):
        p_value = (1 + sum(other >= weight - 1e-9 for other in longest)) / (1 + NUM_SHUFFLES)
        if p_value <= LEVEL:
            rows = np.flatnonzero((place >= start) & (place <= end))
            stretches.append(
                ErrorRun(kind, str(names[rows[0]]), str(names[rows[-1]]), len(rows), int(wrong[rows].sum()), p_value)
            )
    return stretches


def _weigh_runs(around: np.ndarray, shares: np.ndarray) -> list[float]:
    """Return how many patients of each run are misread."""
    return [float(shares[start : end + 1].sum()) for start, end in list_runs(around >= LIMIT)]
