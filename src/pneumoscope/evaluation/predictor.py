"""What can be evaluated: a reader, any classifier of images, or the predictions of another tool."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from pneumoscope.data.duplicates import KNOWN_NAME, read_known_images
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.reader import Reader
from pneumoscope.io.results import EvaluatedImages
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import ROW_SUM_TOLERANCE

DEFAULT_POINT, DEFAULT_THRESHOLD = "balanced", "0.5"


class ImageClassifier(Protocol):
    """A classifier without operating points, such as a Keras model or an ONNX file."""

    @property
    def path(self) -> os.PathLike[str]:
        """File or folder of the model."""

    @property
    def label_set(self) -> LabelSet:
        """The classes."""

    @property
    def size(self) -> int:
        """Side of the square input images, in pixels."""

    def predict_images(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, classes)` probabilities of `(n, size, size)` uint8 images."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A model with the operating point of an evaluation.

    Attributes:
        id: identity of the model, shown in the report.
        label_set: its classes.
        operating_point: operating point of the decisions.
        thresholds: by operating point and name: of the positive class, or of each finding if multi-label; else empty.
        image_size: side of the square input images, in pixels.
        predict: function from `(n, size, size)` uint8 to `(n, classes)` probabilities; None if they are at hand.
        reader: the reader, for what other models do not have: rejections, conformal sets and the OOD detector.
        training_images: SHA-256 and perceptual hashes of the training images; None if they are not listed.
    """

    id: str
    label_set: LabelSet
    operating_point: str
    thresholds: dict[str, dict[str, float]]
    image_size: int = 0
    predict: Callable[[np.ndarray], np.ndarray] | None = None
    reader: Reader | None = None
    training_images: tuple[np.ndarray | None, np.ndarray | None] = (None, None)


def describe_model(model: Reader | ImageClassifier, operating_point: str | float = DEFAULT_POINT) -> Predictor:
    """Return a model as a `Predictor`.

    Args:
        model: a reader or another classifier.
        operating_point: of a reader, see `Reader.threshold`. Other models have the threshold 0.5 or the given number.

    Raises:
        PneumoscopeError: if there is no such operating point.
    """
    if not isinstance(model, Reader):
        return _describe_classifier(model, operating_point)
    card, point = model.models.cards.classifier, str(operating_point)
    points, cases = dict.fromkeys((*card.operating_points, point)), model.models.references
    listed = [cases.sha256] if cases and cases.sha256 is not None else []
    listed += [np.array(card.adapted.sha256)] if card.adapted else []
    return Predictor(
        id=model.models.id,
        label_set=card.label_set,
        operating_point=point,
        thresholds={one: found for one in points if (found := model.thresholds(one))},
        image_size=model.models.image_size,
        predict=model.compute_probabilities,
        reader=model,
        training_images=(np.concatenate(listed) if listed else None, cases.hashes if cases else None),
    )


def _describe_classifier(model: ImageClassifier, operating_point: str | float) -> Predictor:
    point, thresholds = set_threshold(model.label_set, operating_point)
    lock = Lock()

    def predict(images: np.ndarray) -> np.ndarray:
        with lock:  # Keras does not promise that threads can share a model
            return model.predict_images(images)

    return Predictor(
        id=os.fspath(model.path),
        label_set=model.label_set,
        operating_point=point,
        thresholds=thresholds,
        image_size=model.size,
        predict=predict,
        training_images=read_known_images(Path(model.path) / KNOWN_NAME),
    )


def set_threshold(
    label_set: LabelSet, operating_point: str | float = DEFAULT_POINT
) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the operating point and thresholds of a model without operating points: one number for all names.

    Raises:
        PneumoscopeError: if the operating point is no number between 0 and 1.
    """
    point = DEFAULT_THRESHOLD if operating_point == DEFAULT_POINT else str(operating_point)
    try:
        value = float(point)
    except ValueError:
        value = np.nan
    if not 0 < value < 1:
        raise PneumoscopeError(
            f"the operating point is {point!r}; expected a number between 0 and 1, because only exported readers have "
            "named operating points"
        )
    thresholds = dict.fromkeys(label_set.decided, value)
    return point, {point: thresholds} if thresholds else {}


def check_probabilities(values: np.ndarray, label_set: LabelSet, count: int) -> np.ndarray:
    """Return probabilities as `(count, classes)` float64.

    Raises:
        PneumoscopeError: if they have another shape or are no probabilities.
    """
    values, expected = np.asarray(values, dtype=np.float64), (count, len(label_set.classes))
    if values.shape != expected:
        raise PneumoscopeError(f"the model returns values of shape {values.shape}; expected {expected} probabilities")
    if not ((values >= 0) & (values <= 1)).all():
        raise PneumoscopeError(
            f"the model returns values from {values.min():.3g} to {values.max():.3g}; expected probabilities from 0 to "
            "1. Apply softmax or sigmoid to logits"
        )
    sums = values.sum(axis=1)
    if not label_set.multi_label and not np.allclose(sums, 1, atol=ROW_SUM_TOLERANCE):
        raise PneumoscopeError(
            f"the probabilities of an image sum to {sums.min():.3f} to {sums.max():.3f}; expected 1. Divide them by "
            "their sum, or evaluate the classes as findings of a multi-label set"
        )
    return values


def find_correct(images: EvaluatedImages, thresholds: dict[str, float]) -> np.ndarray:
    """Return whether each decision is correct, `(n,)` bool: of the positive class if there is one, else of all classes.

    In a multi-label set, all findings with a known label must be correct.
    """
    label_set, labels, probabilities = images.label_set, images.labels, images.probabilities
    if label_set.multi_label:
        present = probabilities >= [thresholds[name] for name in label_set.classes]
        return np.asarray(((labels < 0) | (present == (labels == 1))).all(axis=1))
    if label_set.positive is None:
        return np.asarray(probabilities.argmax(axis=1) == labels)
    return np.asarray((images.scores >= thresholds[label_set.positive]) == (images.positive == 1))
