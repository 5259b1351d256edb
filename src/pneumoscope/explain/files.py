"""Heatmaps of single images, for any saved model."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import LabelError, ModelError
from pneumoscope.explain.methods import explain
from pneumoscope.explain.scorer import Scorer, choose_class
from pneumoscope.labels import NO_FINDING, LabelSet, fold_name
from pneumoscope.models.prediction import predict_probabilities

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel


def explain_images(
    saved: "SavedModel",
    images: NDArray[np.uint8],
    *,
    method: str = "hirescam",
    layer: str | None = None,
    label: str | None = None,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return a heatmap of the evidence for one class in each image.

    Args:
        saved: a classifier, from `load_model`.
        images: `(n, size, size)` uint8 of the input size of the model.
        method: one of `pneumoscope.explain.methods.METHODS`.
        layer: layer of class-activation maps; by default the last convolutional layer.
        label: the class to explain; of a group, the most probable class; of `no finding` in a multi-label set, the most
            probable finding. By default the predicted class (`choose_class`).
        seed: see `explain`.

    Returns:
        `(n, size, size)` float32 in [0, 1].

    Raises:
        LabelError: if there is no class or group `label`.
        ModelError: if the model is no classifier, or the method or layer does not exist.
    """
    label_set = saved.card.label_set
    if label_set is None:
        raise ModelError(f"{saved.card.architecture} is an anomaly detector; expected a classifier")
    probabilities = predict_probabilities(saved.model, images, label_set)
    if label is None:
        explained = choose_class(probabilities, label_set)
    else:
        named = np.isin(label_set.classes, _find_members(label, label_set))
        explained = np.where(named, probabilities, -1).argmax(axis=1)
    try:
        return explain(_prepare(saved.model, layer), images, method=method, class_indices=explained, seed=seed)
    except ValueError as error:
        raise ModelError(str(error)) from None


# Images are often explained one by one: compile the gradients of a model once.
@lru_cache(maxsize=1)
def _prepare(model: "keras.Model", layer: str | None) -> Scorer:
    return Scorer(model, layer)


def _find_members(label: str, label_set: LabelSet) -> tuple[str, ...]:
    members = {fold_name(name): label_set.members(name) for name in label_set.scored}
    if label_set.multi_label:
        members |= dict.fromkeys(map(fold_name, (label_set.without_finding, NO_FINDING)), label_set.classes)
    if fold_name(label) not in members:
        raise LabelError(f"there is no class {label!r}; expected one of {', '.join(label_set.scored)}")
    return members[fold_name(label)]
