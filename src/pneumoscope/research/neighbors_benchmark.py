"""Task 2: benchmark of retrieval and of uncertainty estimates from nearest neighbors.

Metrics of the table, on test; thresholds and numbers of neighbors are chosen on validation:

    accuracy, balanced_accuracy, classifier_accuracy
                                    votes of the neighbors; classifier
    precision_at_1, precision_at_5, precision_at_10, also with the suffix _CLASS
                                    mean share of retrieved images of the query's class
    rejected, accuracy_of_rest, accuracy_of_rejected
                                    images far from their neighbors: share, and accuracy of the votes on both parts
    differing, error_where_differing, error_where_agreeing
                                    predictions of neighbors and classifier: share, and error rates of the classifier
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import is_labeled
from pneumoscope.errors import LabelError
from pneumoscope.evaluation.pixel_baselines import shrink_images
from pneumoscope.io.results import Evaluation, MethodTable, Metrics, Neighbors
from pneumoscope.io.study_folder import list_classifiers, model_dir
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.intervals import estimate
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.saved_model import load_model
from pneumoscope.neighbors.knn import embed_images, find_neighbors, split_embeddings
from pneumoscope.neighbors.search import LabeledEmbeddings

REJECTED_RATE = 0.05  # share of validation images rejected by the distance threshold
NUM_NEAREST = 5
DEPTHS = (1, 5, 10)
PIXELS_ACROSS = 32
TITLES = {"multiclass": "all classes", "binary": "two classes"}
REMARKS = {
    "all classes": (
        "L2-normalized embedding of the classifier. Number of neighbors and rejection distance (rejects 5 % of "
        "validation) were chosen on validation."
    ),
    "raw pixels": "Baseline: 32 x 32 gray levels without learning.",
}


def benchmark_neighbors(study_dir: Path, configuration: str, dataset: Dataset, *, seed: int = 0) -> MethodTable:
    """Evaluate the embeddings of the classifiers of a study, with raw pixels as baseline.

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
        evaluation = neighbors.evaluations["test"]
        rows[title] |= measure_rejection(parts, evaluation, seed=seed)
        rows[title] |= measure_disagreement(evaluation, probabilities, seed=seed)
        if task == finest:
            pixels = shrink_images(labeled.images, PIXELS_ACROSS).reshape(len(labeled), -1).astype(np.float32)
            pixels -= pixels.mean(axis=1, keepdims=True)
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
    return neighbors, parts, votes | measure_retrieval(parts["train"], parts["test"], label_set, seed=seed)


def measure_retrieval(
    references: LabeledEmbeddings, queries: LabeledEmbeddings, label_set: LabelSet, *, seed: int = 0
) -> Metrics:
    """Return the precision at 1, 5 and 10, of all queries and by class; images of the query's patient are excluded."""
    nearest, _ = references.find_nearest(queries.embeddings, queries.patients, max(DEPTHS))
    hits = (references.labels[nearest] == queries.labels[:, None]) & (nearest >= 0)
    values = {f"precision_at_{depth}": hits[:, :depth].sum(axis=1) / depth for depth in DEPTHS}
    by_class = {
        f"{name}_{label}": np.where(queries.labels == number, numbers, np.nan)
        for number, label in enumerate(label_set.classes)
        for name, numbers in values.items()
    }
    return _estimate_means({**values, **by_class}, queries.patients, seed)


def measure_rejection(parts: dict[str, LabeledEmbeddings], votes: Evaluation, *, seed: int = 0) -> Metrics:
    """Reject test images that are farther from train than 95 % of the validation images.

    Args:
        parts: embeddings of the splits.
        votes: vote shares of the neighbors on test.
        seed: of the bootstrap.
    """
    threshold = float(np.quantile(_measure_distances(parts["train"], parts["val"]), 1 - REJECTED_RATE))
    rejected = _measure_distances(parts["train"], parts["test"]) > threshold
    correct = votes.decisions == votes.labels
    values = {
        "rejected": rejected,
        "accuracy_of_rest": np.where(rejected, np.nan, correct),
        "accuracy_of_rejected": np.where(rejected, correct, np.nan),
    }
    return _estimate_means(values, votes.patients, seed)


def _measure_distances(references: LabeledEmbeddings, queries: LabeledEmbeddings) -> NDArray[np.float64]:
    """Return `(m,)` floats, the mean distance to the five nearest images of other patients; infinity if none."""
    _, distances = references.find_nearest(queries.embeddings, queries.patients, NUM_NEAREST)
    return np.asarray(np.ma.masked_invalid(distances.astype(np.float64)).mean(axis=1).filled(np.inf))


def measure_disagreement(votes: Evaluation, probabilities: NDArray[np.floating], *, seed: int = 0) -> Metrics:
    """Return how often neighbors and classifier differ, and the error rates of the classifier there and elsewhere.

    Args:
        votes: vote shares of the neighbors.
        probabilities: `(n, classes)` floats, of the classifier, for the same images.
        seed: of the bootstrap.
    """
    decisions = probabilities.argmax(axis=1)
    wrong, differing = decisions != votes.labels, decisions != votes.decisions
    values = {
        "classifier_accuracy": ~wrong,
        "differing": differing,
        "error_where_differing": np.where(differing, wrong, np.nan),
        "error_where_agreeing": np.where(differing, np.nan, wrong),
    }
    return _estimate_means(values, votes.patients, seed)


def _estimate_means(values: dict[str, NDArray[np.generic]], patients: NDArray[np.str_], seed: int) -> Metrics:
    """Return the mean of each of `values`, `(n,)` by name, with its interval; NaN values are ignored."""
    table = np.stack(list(values.values()), axis=1).astype(np.float64)
    defined = np.isfinite(table)

    def average(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            means = (weights @ np.where(defined, table, 0)) / (weights @ defined)
        return {name: means[:, column] for column, name in enumerate(values)}

    counts = {name: int(number) for name, number in zip(values, defined.sum(axis=0), strict=True)}
    return estimate(average, patients, counts=counts, seed=seed)
