"""Losses of classifiers, with class weights, and with unknown labels of findings ignored."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pneumoscope.labels import UNKNOWN

# A finding on very few images would have gradients that undo the other steps.
MAX_WEIGHT = 20.0
MARGIN = 1e-7


def build_loss(
    labels: NDArray[np.integer], num_classes: int, *, activation: str, label_smoothing: float, balanced: bool
) -> keras.losses.Loss:
    """Return the loss of `(targets, outputs)` of a classifier.

    Args:
        labels: `(n,)` int64 of the training images, index of the class. Multi-label: `(n, classes)` int64, 1 = present,
            0 = absent, -1 = unknown.
        num_classes: number of outputs.
        activation: of the last layer, `softmax` for categorical cross-entropy or `sigmoid` for binary cross-entropy.
        label_smoothing: share of the target that is spread over the classes.
        balanced: weight classes equally; in a multi-label set, images with and without each finding.
    """
    if labels.ndim == 2:
        weights = weigh_findings(labels) if balanced else np.ones((2, num_classes), dtype=np.float32)
        return FindingLoss(weights, label_smoothing)
    loss_class = keras.losses.BinaryCrossentropy if activation == "sigmoid" else keras.losses.CategoricalCrossentropy
    if not balanced:
        return loss_class(label_smoothing=label_smoothing)
    counts = np.bincount(labels, minlength=num_classes)
    return _weigh_classes(loss_class, len(labels) / (num_classes * counts))(label_smoothing=label_smoothing)


def weigh_findings(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return `(2, classes)` float32, the weights of absent and present findings, at most `MAX_WEIGHT`.

    Example:
        >>> weigh_findings(np.array([[0, 1], [0, 0], [0, -1], [0, -1], [1, -1]])).tolist()
        [[0.625, 1.0], [2.5, 1.0]]
    """
    counts = np.stack([(labels == value).sum(axis=0) for value in (0, 1)])
    weights = np.divide(counts.sum(axis=0), 2 * counts, out=np.ones(counts.shape), where=counts.min(axis=0) > 0)
    return np.asarray(np.minimum(weights, MAX_WEIGHT), dtype=np.float32)


def encode_targets(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float32]:
    """Return `(n, classes)` float32 targets: one-hot, or 1, 0 and NaN (unknown) for findings.

    NaN remains NaN if two images are mixed.
    """
    if labels.ndim == 1:
        return np.asarray(np.eye(num_classes)[labels], dtype=np.float32)
    return np.asarray(np.where(labels == UNKNOWN, np.nan, labels), dtype=np.float32)


class FindingLoss(keras.losses.Loss):  # type: ignore[misc]
    """Binary cross-entropy, averaged over findings; targets of NaN have no loss.

    Args:
        weights: `(2, classes)` float32, of absent and present findings.
        label_smoothing: share of the target that is moved to 0.5.
    """

    def __init__(self, weights: NDArray[np.float32], label_smoothing: float = 0.0) -> None:
        super().__init__(name="finding_loss")
        self.weights, self.label_smoothing = weights, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return `(n,)` losses of `(n, classes)` targets and probabilities."""
        unknown = ops.isnan(y_true)
        present = ops.where(unknown, 0.0, y_true)
        absent_weights, present_weights = (ops.cast(row, y_pred.dtype) for row in self.weights)
        target = present * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        inside = ops.clip(y_pred, MARGIN, 1 - MARGIN)
        losses = -target * ops.log(inside) - (1 - target) * ops.log(1 - inside)
        losses = losses * (present * present_weights + (1 - present) * absent_weights)
        return ops.mean(ops.where(unknown, 0.0, losses), axis=-1)


def _weigh_classes(loss_class: type, class_weights: NDArray[np.floating]) -> Any:
    class Weighted(loss_class):  # type: ignore[misc]
        def call(self, y_true: Any, y_pred: Any) -> Any:
            weights = ops.cast(class_weights, y_pred.dtype)
            return super().call(y_true, y_pred) * ops.sum(ops.cast(y_true, y_pred.dtype) * weights, axis=-1)

    return Weighted
