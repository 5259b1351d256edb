"""Plain values that pass between the rooms, each checking its own shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINARY_CLASSES = ("normal", "pneumonia")
THREE_CLASSES = ("normal", "bacterial", "viral")


def require(condition: bool, message: str) -> None:
    """Raise `ValueError` with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Estimate:
    """One figure with its 95 % interval.

    Attributes:
        value: point estimate on the `n` cases; NaN where the cases do not define it.
        low, high: bounds of the 95 % interval; NaN where it cannot be had.
        n: number of images behind the figure.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Evaluation:
    """How a classifier did on one split.

    Attributes:
        split: name of the split, such as `val` or `test`.
        classes: class names, in the order of the columns of `probabilities`.
        labels: `(n,)` int, index into `classes`.
        probabilities: `(n, classes)` float32; every row sums to 1.
        patients: `(n,)` str, the unit that the intervals resample.
        names: `(n,)` str, path of each image below the collection's root.
        metrics: figure by name, see `pneumoscope.evaluation.metrics`.
        confusion: `(classes, classes)` int, rows truth, columns decision.
    """

    split: str
    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray
    names: np.ndarray
    metrics: dict[str, Estimate]
    confusion: np.ndarray

    def __post_init__(self) -> None:
        n, k = len(self.labels), len(self.classes)
        require(self.probabilities.shape == (n, k), f"probabilities are {self.probabilities.shape}, expected {(n, k)}")
        require(self.patients.shape == (n,), f"patients are {self.patients.shape}, expected {(n,)}")
        require(self.names.shape == (n,), f"names are {self.names.shape}, expected {(n,)}")
        require(self.confusion.shape == (k, k), f"confusion is {self.confusion.shape}, expected {(k, k)}")

    @property
    def decisions(self) -> np.ndarray:
        """`(n,)` int, the most probable class of each image."""
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True)
class LearningCurve:
    """Loss and accuracy of every epoch of one training.

    Attributes:
        loss, accuracy, val_loss, val_accuracy: `(epochs,)` float64; accuracies are NaN for an autoencoder.
        chosen_epoch: the epoch (from 1) whose weights were kept.
        seconds: wall-clock time of the whole training, resumed parts included.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    val_loss: np.ndarray
    val_accuracy: np.ndarray
    chosen_epoch: int
    seconds: float

    def __post_init__(self) -> None:
        n = len(self.loss)
        for name in ("accuracy", "val_loss", "val_accuracy"):
            require(getattr(self, name).shape == (n,), f"{name} has {getattr(self, name).shape}, expected {(n,)}")
        require(1 <= self.chosen_epoch <= n, f"chosen_epoch is {self.chosen_epoch}, expected 1 to {n}")


@dataclass(frozen=True)
class Classification:
    """Task 1: one trained classifier and how it did.

    Attributes:
        classes: class names in order.
        parameters: number of parameters of the net.
        curve: its training.
        evaluations: by split, `val` and `test`.
    """

    classes: tuple[str, ...]
    parameters: int
    curve: LearningCurve
    evaluations: dict[str, Evaluation]


@dataclass(frozen=True)
class Neighbors:
    """Task 2: k-nearest neighbors on the embedding.

    Attributes:
        k: number of neighbors, chosen on validation.
        k_scores: validation balanced accuracy by k tried (keys are str).
        evaluations: k-NN's own figures by split; probabilities are shares of the k votes, classes
            weighing alike.
        agreement: share of test images where k-NN and the net decide alike.
        net_right, knn_right, neither_right: counts of the test images where they differ.
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
            `pneumoscope.tasks.map.measure_map`. The latter two are NaN in studies of before.
        method: `tsne` or `umap`.
        nearest: `(n, 3)` int, the images of other patients that made the map and are nearest to each in the embedding,
            as rows of the map, -1 where there are no more; None in studies of before.
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


@dataclass(frozen=True)
class AnomalyResult:
    """Task 3: scores and metrics of an anomaly detector that was fitted on normals only.

    An image is flagged when its score is at or over a threshold.

    Attributes:
        parameters: number of parameters of its network; 0 where they are not counted.
        curve: training of its network, accuracies are NaN; None where it has no training.
        thresholds: by name: `mean_plus_sd` (the reference study's) and `quantile`, both from held-out normals.
        false_positive_rate: of the `quantile` threshold, in (0, 1).
        validation_scores: `(m,)` float32, anomaly scores of the held-out normals.
        scores: `(n,)` float32, anomaly scores of the test images.
        labels: `(n,)` int, 1 = pneumonia.
        subtypes: `(n,)` str, `normal`, `bacterial`, `viral` or `unknown`.
        metrics: `auroc`, `auprc`, and for each threshold NAME: `accuracy_NAME`, `f1_NAME`,
            `flagged_normal_NAME`, `flagged_pneumonia_NAME` (shares flagged).
        images: `(e, H, W)` float32 in [0, 1], examples from test.
        reconstructions: of the examples, `(e, H, W)` float32 in [0, 1]; None from a detector without reconstructions.
        anomaly_maps: `(e, H, W)` float32, anomaly score of each pixel of the examples.
        examples: `(e,)` int, index of the examples into the dataset.
    """

    parameters: int
    curve: LearningCurve | None
    thresholds: dict[str, float]
    false_positive_rate: float
    validation_scores: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    subtypes: np.ndarray
    metrics: dict[str, Estimate]
    images: np.ndarray
    reconstructions: np.ndarray | None
    anomaly_maps: np.ndarray
    examples: np.ndarray

    def __post_init__(self) -> None:
        require(self.scores.shape == self.labels.shape == self.subtypes.shape, "scores, labels and subtypes differ")
        require(self.images.shape == self.anomaly_maps.shape, "images and anomaly maps differ in shape")
        require(
            self.reconstructions is None or self.reconstructions.shape == self.images.shape,
            "images and reconstructions differ in shape",
        )


@dataclass(frozen=True)
class Explanation:
    """Task 4: why the net of task 1.A decides as it does.

    Attributes:
        layers: names of the layers that are shown, from the input on.
        images: `(e, H, W)` float32 in [0, 1], examples, normal and pneumonia in turn.
        labels: `(e,)` int, 1 = pneumonia.
        decisions: `(e,)` int, what the net said.
        examples: `(e,)` int, index of the examples into the dataset.
        heatmaps: `(e, layers, H, W)` float32 in [0, 1], Grad-CAM of each layer for the decided class, with
            gradients taken place by place (HiResCAM).
        feature_maps: by layer name `(filters, h, w)` float32, of the first pneumonia example.
        patches: by layer name `(filters, patches, p, p)` float32 in [0, 1]: image patches that excite
            the strongest filters most.
        patch_filters: by layer name `(filters,)` int, which filters those are.
        metrics: `centrality_normal`, `centrality_pneumonia`, `centrality_difference` over the test images, and
            `peak_in_lesion`, `lesion_area` where true masks are known (phantoms); the same with `_averaged`
            for Grad-CAM as published, with gradients averaged over the layer.
    """

    layers: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    decisions: np.ndarray
    examples: np.ndarray
    heatmaps: np.ndarray
    feature_maps: dict[str, np.ndarray]
    patches: dict[str, np.ndarray]
    patch_filters: dict[str, np.ndarray]
    metrics: dict[str, Estimate]

    def __post_init__(self) -> None:
        e, height, width = self.images.shape
        expected = (e, len(self.layers), height, width)
        require(self.heatmaps.shape == expected, f"heatmaps are {self.heatmaps.shape}, expected {expected}")


@dataclass(frozen=True)
class Leakage:
    """What a random image split does, beside the patient-grouped one.

    Attributes:
        shared_patients: patients on both sides of the random split.
        leaked_share: share of its validation images whose patient is also trained on, in [0, 1].
        random_split, grouped_split: figures of nearest-neighbor labelling on raw pixels under each split.
    """

    shared_patients: int
    leaked_share: float
    random_split: dict[str, Estimate]
    grouped_split: dict[str, Estimate]


@dataclass(frozen=True)
class Audit:
    """What a collection holds, and what is wrong with it.

    Attributes:
        counts: images by `split/class`, such as `train/normal` or `test/bacterial`.
        patients: patients by split.
        normal_share: share of normals by split: their difference is the prior shift.
        unreadable: `{name, reason}` of each file left out.
        exact_duplicates: groups of names with the same bytes.
        near_duplicates: pairs of names whose perceptual hashes are close.
        shared_patients: patient identifiers in more than one official split.
        shared_numbers: patient numbers that appear in train and in test but, by the naming scheme, are not
            known to be the same child.
        sizes: `{width, height, count}` of the most frequent file sizes.
        exposure: by class, quantiles of mean grey level: `{class: [q05, q25, q50, q75, q95]}`.
        notes: sentences for a reader.
    """

    counts: dict[str, int]
    patients: dict[str, int]
    normal_share: dict[str, float]
    unreadable: list[dict[str, str]]
    exact_duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    shared_patients: list[str]
    shared_numbers: list[str]
    sizes: list[dict[str, int]]
    exposure: dict[str, list[float]]
    notes: list[str]
