"""Results of task 2: k-nearest neighbors and maps of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.classification import Evaluation
from pneumoscope.io.results.estimate import Estimate, check_shapes, require


@dataclass(frozen=True)
class Neighbors:
    """Task 2: k-nearest neighbors on the embedding.

    Attributes:
        k: number of neighbors, chosen on validation, see `choose_k`.
        k_scores: balanced accuracy on validation by candidate k (keys are str).
        evaluations: evaluations of k-NN by split; probabilities are weighted shares of the k votes.
        agreement: share of test images for which k-NN and the classifier predict the same class.
        model_right, knn_right, neither_right: numbers of test images with different predictions for which the
            classifier, k-NN or neither is right.
        queries: `(q,)` int, indices of example test images in the dataset.
        nearest: `(q, 5)` int, indices of their nearest training images of other patients in the dataset.
        distances: `(q, 5)` float32, Euclidean distances between embeddings of length 1.
    """

    k: int
    k_scores: dict[str, float]
    evaluations: dict[str, Evaluation]
    agreement: Estimate
    model_right: int
    knn_right: int
    neither_right: int
    queries: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray

    def __post_init__(self) -> None:
        require(self.nearest.shape == self.distances.shape, "nearest and distances differ in shape")
        require(len(self.queries) == len(self.nearest), "queries and nearest differ in length")


@dataclass(frozen=True)
class EmbeddingMap:
    """Task 2: a two-dimensional map of embeddings, fitted to the training images.

    Attributes:
        coordinates: `(n, 2)` float32.
        labels: `(n,)` int, index into `classes`; -1 for an image of unknown class.
        origins: `(n,)` str, `train`, `test` or `new`. Test and new images were placed on the fitted map.
        names: `(n,)` str.
        classes: class names.
        trustworthiness, continuity, knn_preservation: quality of the map on training images, in [0, 1]; see
            `pneumoscope.neighbors.map.measure_map`. The last two are NaN in older studies.
        method: `tsne` or `umap`.
        nearest: `(n, 3)` int, rows of the nearest training images of other patients by embedding; -1 if there are
            fewer; None in older studies.
    """

    coordinates: np.ndarray
    labels: np.ndarray
    origins: np.ndarray
    names: np.ndarray
    classes: tuple[str, ...]
    trustworthiness: float
    continuity: float = float("nan")
    knn_preservation: float = float("nan")
    method: str = "tsne"
    nearest: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        check_shapes(self, coordinates=(n, 2), origins=(n,), names=(n,))
        require(self.nearest is None or len(self.nearest) == n, f"nearest has other than {n} rows")
