"""Results of task 1: learning curves and evaluations of classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class Evaluation:
    """Predictions and metrics of a classifier on one split.

    Attributes:
        split: name of the split, such as `val` or `test`.
        classes: class names, in the order of the columns of `probabilities`.
        labels: `(n,)` int, index into `classes`.
        probabilities: `(n, classes)` float32; every row sums to 1.
        patients: `(n,)` str, the unit of the bootstrap.
        names: `(n,)` str, paths relative to the root of the collection.
        metrics: by name, see `pneumoscope.metrics.classification`.
        confusion: `(classes, classes)` int, confusion matrix with one row per true class.
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
        for name in ("accuracy", "val_loss", "val_accuracy"):
            require(getattr(self, name).shape == (n,), f"{name} is {getattr(self, name).shape}, expected {(n,)}")
        require(1 <= self.chosen_epoch <= n, f"chosen_epoch is {self.chosen_epoch}, expected 1 to {n}")


@dataclass(frozen=True)
class Classification:
    """Task 1: one trained classifier and its evaluations.

    Attributes:
        classes: class names in order.
        parameters: number of parameters of the model.
        curve: its learning curve.
        evaluations: by split, `val` and `test`.
    """

    classes: tuple[str, ...]
    parameters: int
    curve: LearningCurve
    evaluations: dict[str, Evaluation]
