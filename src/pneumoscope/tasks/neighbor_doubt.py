"""Task 2: what neighbors say about how far an answer is to be trusted.

Three signals: the image is far from all that is known; the votes of its neighbors, as probabilities; and neighbors that
vote against the net.
"""

import numpy as np

from pneumoscope.evaluation.intervals import estimate
from pneumoscope.evaluation.metrics import weigh_auroc
from pneumoscope.evaluation.reliability import measure_top_label_reliability
from pneumoscope.results import Estimate, Evaluation
from pneumoscope.tasks.retrieval import Labelled, estimate_means

REJECTED_RATE = 0.05
NUM_NEAREST = 5
# A vote that nobody has cast is not impossible.
_UNSEEN_VOTES = 0.5


def measure_distances(known: Labelled, asked: Labelled) -> np.ndarray:
    """Return `(m,)` float64, the mean distance to the five nearest known images of other patients; infinite if none."""
    _, distances = known.index().search(asked.embeddings, NUM_NEAREST, exclude=[(name,) for name in asked.patients])
    there = np.isfinite(distances)
    sums = np.where(there, distances, 0).sum(axis=1, dtype=np.float64)
    return np.divide(sums, there.sum(axis=1), out=np.full(len(sums), np.inf), where=there.any(axis=1))


def choose_distance(distances: np.ndarray, *, rate: float = REJECTED_RATE) -> float:
    """Return the distance beyond which an image counts as unlike all that is known.

    Args:
        distances: `(m,)` floats, of images held out of training that are like the known ones.
        rate: share of such images to reject, in (0, 1).

    Example:
        >>> choose_distance(np.arange(101.0), rate=0.05)
        95.0
    """
    return float(np.quantile(distances, 1 - rate))


def measure_rejection(
    distances: np.ndarray, threshold: float, right: np.ndarray, patients: np.ndarray, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return how many images are too far from all that is known, and how well the others are told.

    Args:
        distances: `(n,)` floats, see `measure_distances`; an image is rejected when `distance > threshold`.
        threshold: chosen on other images.
        right: `(n,)` bool, whether each is told rightly.
        patients: `(n,)` str.
        seed: of the resampling.

    Returns:
        `rejected`, the share; `accuracy_of_rest` and `accuracy_of_rejected`.
    """
    rejected, right = distances > threshold, np.asarray(right, dtype=np.float64)
    values = {
        "rejected": rejected.astype(np.float64),
        "accuracy_of_rest": np.where(rejected, np.nan, right),
        "accuracy_of_rejected": np.where(rejected, right, np.nan),
    }
    return estimate_means(values, patients, seed=seed)


def calibrate_votes(
    held_out_shares: np.ndarray, held_out_labels: np.ndarray, shares: np.ndarray, *, num_votes: int
) -> np.ndarray:
    """Return the shares of votes as probabilities that keep what they promise.

    Logarithms of the shares are scaled and shifted as it fits images held out best, classes weighing alike as they do
    in the votes: multinomial logistic regression, after J. Platt, "Probabilistic Outputs for Support Vector Machines",
    1999.

    Args:
        held_out_shares: `(m, classes)` floats, shares of the votes of images that no net was trained on.
        held_out_labels: `(m,)` int, their class; every class occurs.
        shares: `(n, classes)` floats, to be calibrated.
        num_votes: how many neighbors voted.

    Returns:
        `(n, classes)` float64; rows sum to 1.

    Raises:
        ValueError: if a class does not occur.
    """
    from sklearn.linear_model import LogisticRegression

    num_classes = held_out_shares.shape[1]
    if set(held_out_labels.tolist()) != set(range(num_classes)):
        raise ValueError(f"labels hold {sorted(set(held_out_labels.tolist()))}, expected all of 0 to {num_classes - 1}")

    def score(values: np.ndarray) -> np.ndarray:
        return np.log(values * num_votes + _UNSEEN_VOTES)

    fitted = LogisticRegression(class_weight="balanced")
    return fitted.fit(score(held_out_shares), held_out_labels).predict_proba(score(shares))


def measure_vote_calibration(held_out: Evaluation, told: Evaluation, *, num_votes: int) -> dict[str, Estimate]:
    """Return the expected calibration error of the votes, `ece_votes`, and of what `calibrate_votes` makes of them.

    Args:
        held_out: shares of votes of validation images, which the calibration is fitted to.
        told: those of test images, which it is measured on.
        num_votes: how many neighbors voted.

    Returns:
        `ece_votes`, `ece_calibrated` and `accuracy_calibrated`; the errors are of the most probable class.
    """
    made = calibrate_votes(held_out.probabilities, held_out.labels, told.probabilities, num_votes=num_votes)
    right = {"accuracy_calibrated": (made.argmax(axis=1) == told.labels).astype(np.float64)}
    return {
        "ece_votes": measure_top_label_reliability(told.labels, told.probabilities, told.patients).error,
        "ece_calibrated": measure_top_label_reliability(told.labels, made, told.patients).error,
        **estimate_means(right, told.patients),
    }


def measure_disagreement(told: Evaluation, net_probabilities: np.ndarray, *, seed: int = 0) -> dict[str, Estimate]:
    """Return whether neighbors that contradict the net tell of its errors.

    Args:
        told: shares of the votes of neighbors.
        net_probabilities: `(n, classes)` floats, the net's own of the same images.
        seed: of the resampling.

    Returns:
        `net_accuracy`; `differing`, the share of images where the neighbors' class is not the net's; the net's error
        rate there and elsewhere, `error_where_differing` and `error_where_agreeing`; and the AUROC of its errors,
        ranked by differing or not (`auroc_errors_differing`), by the share of the votes that are against it
        (`auroc_errors_votes`), by its own doubt, 1 - its largest probability (`auroc_errors_net`), and by the mean of
        the latter two (`auroc_errors_both`).
    """
    decisions = net_probabilities.argmax(axis=1)
    rows = np.arange(len(decisions))
    wrong, differing = decisions != told.labels, decisions != told.decisions
    against = 1 - told.probabilities[rows, decisions]
    own = 1 - net_probabilities[rows, decisions]
    doubts = {"differing": differing, "votes": against, "net": own, "both": (against + own) / 2}
    rates = {
        "net_accuracy": (~wrong).astype(np.float64),
        "differing": differing.astype(np.float64),
        "error_where_differing": np.where(differing, wrong, np.nan),
        "error_where_agreeing": np.where(differing, np.nan, wrong),
    }

    def rank(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {f"auroc_errors_{name}": weigh_auroc(wrong, doubt, weights) for name, doubt in doubts.items()}

    return {**estimate_means(rates, told.patients, seed=seed), **estimate(rank, told.patients, seed=seed)}
