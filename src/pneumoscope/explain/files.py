"""Heatmaps of single files, for any saved model."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.data.image import load_image
from pneumoscope.data.source import printable_name
from pneumoscope.errors import ImageError, LabelError, ModelError
from pneumoscope.explain.methods import METHODS, explain_with
from pneumoscope.explain.scorer import Scorer, choose_class
from pneumoscope.io.results import require
from pneumoscope.labels import fold_name
from pneumoscope.models.prediction import predict_probabilities

if TYPE_CHECKING:
    from pneumoscope.models.saved_model import SavedModel


@dataclass(frozen=True)
class ExplainedFiles:
    """Heatmaps of single files.

    Attributes:
        names: printable path of each file.
        classes: class names, in the order of the columns of `probabilities`.
        images: `(n, size, size)` uint8, as the model takes them.
        probabilities: `(n, classes)` float64, not calibrated.
        explained: `(n,)` int, the explained class of each image.
        heatmaps: `(n, size, size)` float32 in [0, 1].
        method: name of the method.
        layer: name of the layer of class-activation maps.
        skipped: `name` and `reason` of each file that cannot be read.
    """

    names: list[str]
    classes: tuple[str, ...]
    images: np.ndarray
    probabilities: np.ndarray
    explained: np.ndarray
    heatmaps: np.ndarray
    method: str
    layer: str
    skipped: list[dict[str, str]]

    def __post_init__(self) -> None:
        require(self.images.shape == self.heatmaps.shape, "images and heatmaps differ in shape")


def explain_files(
    saved_model: "SavedModel",
    paths: Iterable[str | os.PathLike[str]],
    *,
    method: str = "gradcam",
    layer: str | None = None,
    label: str | None = None,
    seed: int = 0,
) -> ExplainedFiles:
    """Return the probabilities of single files, and a heatmap of the evidence for one class in each.

    Args:
        saved_model: a classifier, from `load_model`.
        paths: image files.
        method: one of `METHODS`.
        layer: see `explain`.
        label: the class to explain; of a group, the most probable class. By default the predicted class
            (`choose_class`).
        seed: see `explain`.

    Raises:
        LabelError: if there is no class or group `label`.
        ModelError: if the model is no classifier, or the method or layer does not exist.
    """
    label_set = saved_model.card.label_set
    if label_set is None:
        raise ModelError(f"{saved_model.card.architecture} is an anomaly detector; expected a classifier")
    if method not in METHODS:
        raise ModelError(f"there is no method {method!r}; expected one of {', '.join(METHODS)}")
    by_key = {fold_name(name): label_set.members(name) for name in label_set.scored}
    members = label_set.classes if label is None else by_key.get(fold_name(label))
    if members is None:
        raise LabelError(f"there is no class {label!r}; expected one of {', '.join(label_set.scored)}")
    size = saved_model.card.input.shape[0]
    images: list[np.ndarray] = []
    names: list[str] = []
    skipped: list[dict[str, str]] = []
    for path in paths:
        try:
            images.append(load_image(path, size=size))
            names.append(printable_name(path))
        except ImageError as error:
            skipped.append({"name": printable_name(path), "reason": str(error)})
    stacked = np.stack(images) if images else np.empty((0, size, size), np.uint8)
    probabilities = predict_probabilities(saved_model.model, stacked, label_set)
    shown = np.array([name in members for name in label_set.classes])
    explained = np.where(shown, probabilities, -1).argmax(axis=1)
    if label is None:
        explained = choose_class(probabilities, label_set)
    try:
        scorer = Scorer(saved_model.model, layer)
        heatmaps = explain_with(scorer, stacked, method=method, class_indices=explained, seed=seed)
    except ValueError as error:
        raise ModelError(str(error)) from None
    return ExplainedFiles(
        names, label_set.classes, stacked, probabilities, explained, heatmaps, method, scorer.layer, skipped
    )
