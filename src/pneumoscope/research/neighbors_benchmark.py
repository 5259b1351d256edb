"""Task 2: benchmark of retrieval and of uncertainty estimates from nearest neighbors.

Uncertainty estimates: distance to the nearest reference images; calibrated vote shares of the neighbors; disagreement
of neighbors and classifier.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import is_labeled
from pneumoscope.errors import LabelError
from pneumoscope.io.results import Evaluation, MethodTable, Metrics, Neighbors
from pneumoscope.io.study_folder import list_classifiers, model_dir
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import weigh_auroc
from pneumoscope.metrics.intervals import estimate
from pneumoscope.metrics.reliability import measure_top_label_reliability
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.saved_model import load_model
from pneumoscope.neighbors.knn import embed_images, find_neighbors, split_embeddings
from pneumoscope.neighbors.retrieval import estimate_means, measure_retrieval
from pneumoscope.neighbors.search import LabeledEmbeddings

REJECTED_RATE = 0.05  # share of validation images rejected by the distance threshold
NUM_NEAREST = 5
# Pseudo-count per class, so that logarithms are finite.
_UNSEEN_VOTES = 0.5
PIXELS_ACROSS = 32
TITLES = {"multiclass": "all classes", "binary": "two classes"}
REMARKS = {
    "all classes": (
        "L2-normalized embedding of the classifier. Number of neighbors, rejection distance (rejects 5 % of "
        "validation) and vote calibration were chosen on validation."
    ),
    "raw pixels": "Baseline: 32 x 32 gray levels without learning.",
}


def benchmark_neighbors(study_dir: Path, configuration: str, dataset: Dataset, *, seed: int = 0) -> MethodTable:
    """Evaluate the embeddings of the classifiers of a study, with raw pixels as baseline.

    Thresholds, numbers of neighbors and calibrations are chosen on validation; metrics are measured on test.

    Args:
        study_dir: folder of the study.
        configuration: configuration of the models.
        dataset: dataset of the study, with splits.
        seed: of the bootstrap.

    Raises:
        LabelError: if the labels are multi-label.
    """
    if dataset.label_set.multi_label:
        raise LabelError("this benchmark is defined for one class per image; this collection is multi-label")
    rows: dict[str, Metrics] = {}
    tasks, finest = dataset.label_set.tasks(), list_classifiers(study_dir, configuration)[-1]
    for task, title in TITLES.items():
        if task not in tasks or not model_dir(study_dir, configuration, task).exists():
            continue
        saved, label_set = load_model(model_dir(study_dir, configuration, task)), tasks[task]
        own = saved.card.label_set or label_set
        labeled = dataset.select(is_labeled(dataset.labels(own)))
        probabilities = predict_probabilities(saved.model, labeled.split("test").images, own)
        if own != label_set:
            scores = own.score_positive(probabilities)
            probabilities = np.stack([1 - scores, scores], axis=1)
        embeddings = embed_images(saved.model, labeled.images, layer=saved.card.embedding_layer or "embedding")
        neighbors, parts, rows[title] = _measure_neighbors(embeddings, labeled, label_set, probabilities, seed)
        rows[title] |= _measure_uncertainty(neighbors, parts, probabilities, seed)
        if task == finest:
            pixels = shrink_images(labeled.images)
            rows["raw pixels"] = _measure_neighbors(pixels, labeled, label_set, probabilities, seed)[2]
    return MethodTable(rows, {name: remark for name, remark in REMARKS.items() if name in rows})


def _measure_neighbors(
    embeddings: NDArray[np.float32],
    dataset: Dataset,
    label_set: LabelSet,
    probabilities: NDArray[np.floating],
    seed: int,
) -> tuple[Neighbors, dict[str, LabeledEmbeddings], Metrics]:
    neighbors = find_neighbors(embeddings, dataset, label_set=label_set, probabilities=probabilities, seed=seed)
    parts, _ = split_embeddings(embeddings, dataset, label_set)
    votes = {name: neighbors.evaluations["test"].metrics[name] for name in ("accuracy", "balanced_accuracy")}
    retrieval = measure_retrieval(parts["train"], parts["test"], classes=label_set.classes, seed=seed)
    return neighbors, parts, votes | retrieval


def _measure_uncertainty(
    neighbors: Neighbors, parts: dict[str, LabeledEmbeddings], probabilities: NDArray[np.floating], seed: int
) -> Metrics:
    evaluation = neighbors.evaluations["test"]
    threshold = float(np.quantile(measure_distances(parts["train"], parts["val"]), 1 - REJECTED_RATE))
    distances = measure_distances(parts["train"], parts["test"])
    correct = evaluation.decisions == evaluation.labels
    return {
        **measure_rejection(distances, threshold, correct, evaluation.patients, seed=seed),
        **measure_vote_calibration(neighbors.evaluations["val"], evaluation, num_votes=neighbors.k),
        **measure_disagreement(evaluation, probabilities, seed=seed),
    }


def shrink_images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images as 32 x 32 gray levels minus their mean, `(n, 1024)` float32, the baseline embedding.

    Args:
        images: `(n, H, W)` uint8; H and W are multiples of 32.
    """
    height, width = images.shape[1] // PIXELS_ACROSS, images.shape[2] // PIXELS_ACROSS
    blocks = images.reshape(len(images), PIXELS_ACROSS, height, PIXELS_ACROSS, width)
    levels = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1)
    return np.asarray(levels - levels.mean(axis=1, keepdims=True))


def measure_distances(references: LabeledEmbeddings, queries: LabeledEmbeddings) -> NDArray[np.float64]:
    """Return `(m,)` floats, the mean distance to the five nearest images of other patients; infinity if none."""
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
    """Return `rejected`, the share of images with `distance > threshold`, and the accuracy of both groups.

    Args:
        distances: `(n,)` floats, from `measure_distances`.
        threshold: maximum distance of an accepted image.
        correct: `(n,)` bool, whether the classification is correct.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.
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
    """Calibrate vote shares to probabilities.

    Multinomial logistic regression on log shares with equal class weights, after J. Platt, "Probabilistic Outputs for
    Support Vector Machines", 1999.

    Args:
        held_out_shares: `(m, classes)` floats, vote shares of held-out images.
        held_out_labels: `(m,)` int, classes of the held-out images; every class occurs.
        shares: `(n, classes)` floats, vote shares to calibrate.
        num_votes: number of votes per image.

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

    The calibration is fitted on the vote shares `held_out` of validation and measured on `evaluation`.
    """
    labels, patients = evaluation.labels, evaluation.patients
    calibrated = calibrate_votes(held_out.probabilities, held_out.labels, evaluation.probabilities, num_votes=num_votes)
    correct = (calibrated.argmax(axis=1) == labels).astype(np.float64)
    return {
        "ece_votes": measure_top_label_reliability(labels, evaluation.probabilities, patients).error,
        "ece_calibrated": measure_top_label_reliability(labels, calibrated, patients).error,
        **estimate_means({"accuracy_calibrated": correct}, patients),
    }


def measure_disagreement(evaluation: Evaluation, probabilities: NDArray[np.floating], *, seed: int = 0) -> Metrics:
    """Measure how well disagreement of neighbors and classifier detects errors of the classifier.

    Args:
        evaluation: vote shares of the neighbors.
        probabilities: `(n, classes)` floats, of the classifier, for the same images.
        seed: of the bootstrap.

    Returns:
        `classifier_accuracy`; `differing`, the share of images with different predictions of neighbors and classifier;
        the error rates of the classifier `error_where_differing` and `error_where_agreeing`; and the AUROC of error
        detection by disagreement (`auroc_errors_differing`), by the share of votes against the classifier
        (`auroc_errors_votes`), by 1 - maximum probability of the classifier (`auroc_errors_classifier`), and by the
        mean of the last two (`auroc_errors_both`).
    """
    decisions = probabilities.argmax(axis=1)
    rows = np.arange(len(decisions))
    wrong, differing = decisions != evaluation.labels, decisions != evaluation.decisions
    against = 1 - evaluation.probabilities[rows, decisions]
    own = 1 - probabilities[rows, decisions]
    uncertainties = {"differing": differing, "votes": against, "classifier": own, "both": (against + own) / 2}
    rates = {
        "classifier_accuracy": (~wrong).astype(np.float64),
        "differing": differing.astype(np.float64),
        "error_where_differing": np.where(differing, wrong, np.nan),
        "error_where_agreeing": np.where(differing, np.nan, wrong),
    }

    def rank(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {f"auroc_errors_{name}": weigh_auroc(wrong, score, weights) for name, score in uncertainties.items()}

    return {**estimate_means(rates, evaluation.patients, seed=seed), **estimate(rank, evaluation.patients, seed=seed)}
