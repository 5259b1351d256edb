"""Results of task 3: anomaly detection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.classification import LearningCurve
from pneumoscope.io.results.estimate import Estimate, check_shapes


@dataclass(frozen=True)
class AnomalyResult:
    """Task 3: scores and metrics of an anomaly detector that was fitted on normals only.

    An image is flagged when `score >= threshold`.

    Attributes:
        parameters: number of parameters of its network; 0 if not counted.
        curve: learning curve of its network, with NaN accuracies; None if it is not trained.
        thresholds: by name: `quantile`, from held-out normals.
        false_positive_rate: nominal false positive rate of the `quantile` threshold, in (0, 1).
        validation_scores: `(m,)` float32, anomaly scores of the held-out normals.
        scores: `(n,)` float32, anomaly scores of the test images.
        labels: `(n,)` int, 1 = not of the negative class.
        classes: `(n,)` str, label of each test image.
        metrics: `auroc`, `auprc`, and for each NAME `accuracy_NAME`, `f1_NAME`, `false_positive_rate_NAME` and
            `sensitivity_NAME`. NAME is `quantile`, or a rule of the reference protocol, whose thresholds come from the
            test normals: `one_sided` or `two_sided`.
        images: `(e, H, W)` float32 in [0, 1], example images from test.
        reconstructions: `(e, H, W)` float32 in [0, 1], reconstructions of the examples; None if the detector does not
            reconstruct.
        anomaly_maps: `(e, H, W)` float32, pixel-wise anomaly scores of the examples.
        examples: `(e,)` int, indices of the examples in the dataset.
    """

    parameters: int
    curve: LearningCurve | None
    thresholds: dict[str, float]
    false_positive_rate: float
    validation_scores: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    metrics: dict[str, Estimate]
    images: np.ndarray
    reconstructions: np.ndarray | None
    anomaly_maps: np.ndarray
    examples: np.ndarray

    def __post_init__(self) -> None:
        check_shapes(self, labels=self.scores.shape, classes=self.scores.shape, anomaly_maps=self.images.shape)
        if self.reconstructions is not None:
            check_shapes(self, reconstructions=self.images.shape)
