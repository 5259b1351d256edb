"""Results of task 1: learning curves and evaluations of classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.estimate import Estimate, check_shapes, require
from pneumoscope.labels import LabelSet


@dataclass(frozen=True)
class Evaluation:
    """Predictions and metrics of a classifier on one split.

    Attributes:
        split: name of the split, such as `val` or `test`.
        label_set: the classes, in the order of the columns of `probabilities`.
        labels: `(n,)` int, index of the class. Multi-label: `(n, classes)` int, 1 = present, 0 = absent, -1 = unknown.
        probabilities: `(n, classes)` float32; every row sums to 1 unless the classes are multi-label.
        patients: `(n,)` str, the unit of the bootstrap.
        names: `(n,)` str, paths relative to the root of the collection.
        metrics: by name, see `pneumoscope.metrics.classification`.
        confusion: `(classes, classes)` int, confusion matrix with one row per true class. Multi-label:
            `(classes, 2, 2)` int, one matrix per class.
    """

    split: str
    label_set: LabelSet
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray
    names: np.ndarray
    metrics: dict[str, Estimate]
    confusion: np.ndarray

    def __post_init__(self) -> None:
        n, k = len(self.labels), len(self.classes)
        shape, matrix = ((n, k), (k, 2, 2)) if self.label_set.multi_label else ((n,), (k, k))
        check_shapes(self, labels=shape, probabilities=(n, k), patients=(n,), names=(n,), confusion=matrix)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.label_set.classes

    @property
    def decisions(self) -> np.ndarray:
        """`(n,)` int, the most probable class of each image. Multi-label: `(n, classes)` int, 1 from 0.5 on."""
        if self.label_set.multi_label:
            return (self.probabilities >= 0.5).astype(np.int64)
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True)
class LearningCurve:
    """Loss and accuracy of each epoch of one training.

    Attributes:
        loss, accuracy, val_loss, val_accuracy: `(epochs,)` float64; accuracies are NaN for an autoencoder.
        chosen_epoch: the epoch (from 1) whose weights were kept.
        seconds: wall-clock time of the training, including resumed parts.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    val_loss: np.ndarray
    val_accuracy: np.ndarray
    chosen_epoch: int
    seconds: float

    def __post_init__(self) -> None:
        n = len(self.loss)
        check_shapes(self, accuracy=(n,), val_loss=(n,), val_accuracy=(n,))
        require(1 <= self.chosen_epoch <= n, f"chosen_epoch is {self.chosen_epoch}, expected 1 to {n}")


@dataclass(frozen=True)
class Classification:
    """Task 1: one trained classifier and its evaluations.

    Attributes:
        label_set: the classes.
        parameters: number of parameters of the model.
        curve: its learning curve.
        evaluations: by split, `val` and `test`.
    """

    label_set: LabelSet
    parameters: int
    curve: LearningCurve
    evaluations: dict[str, Evaluation]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.label_set.classes
