"""Task 2: retrieval, rejection, calibrated votes and uncertainty by nearest neighbors, as one table."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.classification.classifier import predict_probabilities
from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import MethodTable, Metrics, Neighbors
from pneumoscope.io.study_folder import model_dir
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.models.saved_model import load_model
from pneumoscope.neighbors.knn import embed_images, find_neighbors, split_embeddings
from pneumoscope.neighbors.retrieval import measure_retrieval
from pneumoscope.neighbors.search import LabeledEmbeddings
from pneumoscope.research.neighbor_uncertainty import (
    REJECTED_RATE,
    measure_disagreement,
    measure_distances,
    measure_rejection,
    measure_vote_calibration,
)
from pneumoscope.study.pipeline import CLASSES

PIXELS_ACROSS = 32
TITLES = {"three_class": "three classes", "binary": "two classes"}
REMARKS = {
    "three classes": (
        "The embedding of the classifier, scaled to length 1. The number of neighbors, the distance of rejection (5% "
        "of validation lies beyond) and the calibration of the votes were chosen on validation."
    ),
    "raw pixels": "32 x 32 gray levels, nothing learned: the baseline of an embedding.",
}


def benchmark_neighbors(study_dir: Path, configuration: str, dataset: Dataset, *, seed: int = 0) -> MethodTable:
    """Measure the embeddings of a study's classifiers, and raw pixels as their baseline.

    Thresholds, numbers of neighbors and calibrations come from validation; all metrics are of the test images.

    Args:
        study_dir: folder of the study.
        configuration: of the models.
        dataset: the study's, split.
        seed: of the resampling.
    """
    rows: dict[str, Metrics] = {}
    for task, title in TITLES.items():
        classes = CLASSES[task]
        labeled = dataset.select(dataset.labels(THREE_CLASSES if configuration == "default" else classes) >= 0)
        model = load_model(model_dir(study_dir, configuration, task)).model
        probabilities = predict_probabilities(model, labeled.split("test").images)
        if probabilities.shape[1] > len(classes):
            probabilities = np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], axis=1)
        embeddings = embed_images(model, labeled.images)
        neighbors, parts, rows[title] = _measure_neighbors(embeddings, labeled, classes, probabilities, seed)
        rows[title] |= _measure_uncertainty(neighbors, parts, probabilities, seed)
        if task == "three_class":
            pixels = shrink_images(labeled.images)
            rows["raw pixels"] = _measure_neighbors(pixels, labeled, classes, probabilities, seed)[2]
    return MethodTable(rows, REMARKS)


def _measure_neighbors(
    embeddings: NDArray[np.float32],
    dataset: Dataset,
    classes: tuple[str, ...],
    probabilities: NDArray[np.floating],
    seed: int,
) -> tuple[Neighbors, dict[str, LabeledEmbeddings], Metrics]:
    neighbors = find_neighbors(embeddings, dataset, classes=classes, net_probabilities=probabilities, seed=seed)
    parts, _ = split_embeddings(embeddings, dataset, classes)
    votes = {name: neighbors.evaluations["test"].metrics[name] for name in ("accuracy", "balanced_accuracy")}
    retrieval = measure_retrieval(parts["train"], parts["test"], classes=classes, seed=seed)
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
    """Return `(n, 1024)` floats, images as 32 x 32 gray levels less their mean: an embedding without learning.

    Args:
        images: `(n, H, W)` uint8, of a side that 32 divides.
    """
    height, width = images.shape[1] // PIXELS_ACROSS, images.shape[2] // PIXELS_ACROSS
    blocks = images.reshape(len(images), PIXELS_ACROSS, height, PIXELS_ACROSS, width)
    levels = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1)
    return np.asarray(levels - levels.mean(axis=1, keepdims=True))
