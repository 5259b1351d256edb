"""Results of task 2: k-nearest neighbors and maps of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.classification import Evaluation
from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class Neighbors:
    """Task 2: k-nearest neighbors on the embedding.

    Attributes:
        k: number of neighbors, chosen on validation.
        k_scores: validation balanced accuracy by k tried (keys are str).
        evaluations: of k-NN, by split; probabilities are weighted shares of the k votes.
        agreement: share of test images where k-NN and the classifier make the same decision.
        net_right, knn_right, neither_right: counts of the test images where they differ; `net` is the classifier.
        queries: `(q,)` int, test images shown as examples, index into the dataset.
        nearest: `(q, 5)` int, their nearest training images of other patients, index into the dataset.
        distances: `(q, 5)` float32, Euclidean distance in the embedding scaled to length 1.
    """

    k: int
    k_scores: dict[str, float]
    evaluations: dict[str, Evaluation]
    agreement: Estimate
    net_right: int
    knn_right: int
    neither_right: int
    queries: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray

    def __post_init__(self) -> None:
        require(self.nearest.shape == self.distances.shape, "nearest and distances differ in shape")
        require(len(self.queries) == len(self.nearest), "one row of nearest for each query is expected")


@dataclass(frozen=True)
class EmbeddingMap:
    """Task 2: a map of embeddings.

    Attributes:
        coordinates: `(n, 2)` float32.
        labels: `(n,)` int, index into `classes`; -1 for an image of unknown class.
        origins: `(n,)` str, `train`, `test` or `new`; the latter two were placed on the map that train made.
        names: `(n,)` str.
        classes: class names.
        trustworthiness, continuity, knn_preservation: of the training part, in [0, 1]; see
            `pneumoscope.neighbors.map.measure_map`. The latter two are NaN in older studies.
        method: `tsne` or `umap`.
        nearest: `(n, 3)` int, rows of the nearest images of other patients that the map was fitted to, by embedding; -1
            where there are no more; None in older studies.
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
        require(self.coordinates.shape == (n, 2), f"coordinates are {self.coordinates.shape}, expected {(n, 2)}")
        require(self.origins.shape == (n,) and self.names.shape == (n,), "one origin and one name a point are expected")
        require(self.nearest is None or len(self.nearest) == n, "one row of nearest a point is expected")
