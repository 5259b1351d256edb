"""Task 2: how nearest neighbors measure the uncertainty of a prediction.

Three signals: the distance to the nearest reference images; the votes of the neighbors, as calibrated probabilities;
and neighbors that vote against the classifier.
"""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.io.results import Evaluation, Metrics
from pneumoscope.metrics.classification import weigh_auroc
from pneumoscope.metrics.intervals import estimate
from pneumoscope.metrics.reliability import measure_top_label_reliability
from pneumoscope.neighbors.retrieval import estimate_means
from pneumoscope.neighbors.search import LabeledEmbeddings

REJECTED_RATE = 0.05  # of images that are like the reference images
NUM_NEAREST = 5
# Added to each count, so that a class without a vote keeps a finite logarithm.
_UNSEEN_VOTES = 0.5


def measure_distances(references: LabeledEmbeddings, queries: LabeledEmbeddings) -> NDArray[np.float64]:
    """Return `(m,)` floats, the mean distance to the five nearest images of other patients; infinite if none."""
    _, distances = references.find_nearest(queries.embeddings, queries.patients, NUM_NEAREST)
    present = np.isfinite(distances)
    sums, means = np.where(present, distances, 0).sum(axis=1, dtype=np.float64), np.full(len(distances), np.inf)
    np.divide(sums, present.sum(axis=1), out=means, where=present.any(axis=1))
    return means


def measure_rejection(
    distances: NDArray[np.float64],
    threshold: float,
    correct: NDArray[np.bool_],
    patients: NDArray[np.str_],
    *,
    seed: int = 0,
) -> Metrics:
    """Return `rejected`, the share of images with `distance > threshold`, and the accuracy of both parts.

    Args:
        distances: `(n,)` floats, see `measure_distances`.
        threshold: chosen on other images.
        correct: `(n,)` bool, whether each is classified correctly.
        patients: `(n,)` str.
        seed: of the resampling.
    """
    rejected, correct = distances > threshold, np.asarray(correct, dtype=np.float64)
    values = {
        "rejected": rejected.astype(np.float64),
        "accuracy_of_rest": np.where(rejected, np.nan, correct),
        "accuracy_of_rejected": np.where(rejected, correct, np.nan),
    }
    return estimate_means(values, patients, seed=seed)


def calibrate_votes(
    held_out_shares: NDArray[np.float64],
    held_out_labels: NDArray[np.int64],
    shares: NDArray[np.float64],
    *,
    num_votes: int,
) -> NDArray[np.float64]:
    """Return the shares of votes as calibrated probabilities.

    Multinomial logistic regression on the logarithms of the shares, with classes weighted alike as they are in the
    votes, after J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999.

    Args:
        held_out_shares: `(m, classes)` floats, shares of the votes of images that no classifier was trained on.
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

    def score(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(values * num_votes + _UNSEEN_VOTES)

    fitted = LogisticRegression(class_weight="balanced").fit(score(held_out_shares), held_out_labels)
    return np.asarray(fitted.predict_proba(score(shares)))


def measure_vote_calibration(held_out: Evaluation, evaluation: Evaluation, *, num_votes: int) -> Metrics:
    """Return the expected calibration error of the votes before and after `calibrate_votes`, and the accuracy after.

    Args:
        held_out: shares of votes of validation images, which the calibration is fitted to.
        evaluation: those of test images, which it is measured on.
        num_votes: how many neighbors voted.
    """
    labels, patients = evaluation.labels, evaluation.patients
    calibrated = calibrate_votes(held_out.probabilities, held_out.labels, evaluation.probabilities, num_votes=num_votes)
    correct = (calibrated.argmax(axis=1) == labels).astype(np.float64)
    return {
        "ece_votes": measure_top_label_reliability(labels, evaluation.probabilities, patients).error,
        "ece_calibrated": measure_top_label_reliability(labels, calibrated, patients).error,
        **estimate_means({"accuracy_calibrated": correct}, patients),
    }


def measure_disagreement(evaluation: Evaluation, net_probabilities: NDArray[np.floating], *, seed: int = 0) -> Metrics:
    """Measure how well neighbors that contradict the classifier predict its errors.

    Args:
        evaluation: shares of the votes of neighbors.
        net_probabilities: `(n, classes)` floats, of the classifier, of the same images.
        seed: of the resampling.

    Returns:
        `net_accuracy`; `differing`, the share of images where the neighbors' class is not the classifier's; its
        error rate there and elsewhere, `error_where_differing` and `error_where_agreeing`; and the AUROC of its errors,
        ranked by differing or not (`auroc_errors_differing`), by the share of the votes that are against it
        (`auroc_errors_votes`), by its own uncertainty, 1 - its largest probability (`auroc_errors_net`), and by
        the mean of the latter two (`auroc_errors_both`).
    """
    decisions = net_probabilities.argmax(axis=1)
    rows = np.arange(len(decisions))
    wrong, differing = decisions != evaluation.labels, decisions != evaluation.decisions
    against = 1 - evaluation.probabilities[rows, decisions]
    own = 1 - net_probabilities[rows, decisions]
    uncertainties = {"differing": differing, "votes": against, "net": own, "both": (against + own) / 2}
    rates = {
        "net_accuracy": (~wrong).astype(np.float64),
        "differing": differing.astype(np.float64),
        "error_where_differing": np.where(differing, wrong, np.nan),
        "error_where_agreeing": np.where(differing, np.nan, wrong),
    }

    def rank(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {f"auroc_errors_{name}": weigh_auroc(wrong, score, weights) for name, score in uncertainties.items()}

    return {**estimate_means(rates, evaluation.patients, seed=seed), **estimate(rank, evaluation.patients, seed=seed)}
