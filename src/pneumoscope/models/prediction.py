"""Probabilities of a Keras classifier."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import ImageError, ModelError
from pneumoscope.labels import LabelSet

MIN_SPREAD = 1e-3
_BATCH_SIZE = 128
# Images in memory at once, a multiple of the batch size: images may be a file that is mapped into memory.
_PART_SIZE = 32 * _BATCH_SIZE


def predict_probabilities(
    model: Any, images: NDArray[np.generic], label_set: LabelSet, *, mirror: bool = False
) -> NDArray[np.float64]:
    """Return the probability of each class.

    Args:
        model: a Keras classifier that takes `(n, H, W, channels)` with values 0 to 255. One output stands for the
            second of two classes.
        images: `(n, H, W)` gray levels from 0 to 255. Each channel of the model gets the same gray levels.
        label_set: classes in the order of the outputs.
        mirror: whether to average the probabilities of each image and of its mirror image.

    Returns:
        `(n, classes)` float64. Rows of a single-label set sum to 1: the outputs, such as one sigmoid per class, are
        divided by their sum.

    Raises:
        ImageError: if the images have another size than the model takes.
        ModelError: if the model has another number of outputs, or they are no probabilities.
    """
    if mirror:
        pair = [predict_probabilities(model, each, label_set) for each in (images, images[:, :, ::-1])]
        return np.asarray(np.mean(pair, axis=0))
    check_outputs(model, label_set)
    height, width, channels = model.input_shape[1:]
    if images.ndim != 3 or images.shape[1:] != (height or images.shape[1], width or images.shape[2]):
        raise ImageError(f"images of shape {images.shape}; expected (n, {height}, {width}), as the model takes them")
    parts = [
        model.predict(
            np.repeat(images[start : start + _PART_SIZE, ..., None], channels or 1, axis=-1),
            batch_size=_BATCH_SIZE,
            verbose=0,
        )
        for start in range(0, len(images), _PART_SIZE)
    ]
    outputs = np.concatenate([np.empty((0, model.output_shape[-1])), *parts])
    return read_probabilities(outputs, label_set)


def read_probabilities(outputs: NDArray[np.floating], label_set: LabelSet) -> NDArray[np.float64]:
    """Return the probability of each class from the outputs of any classifier, see `predict_probabilities`.

    Raises:
        ModelError: if the outputs are no probabilities, or not one per class.

    Example:
        >>> read_probabilities(np.array([[0.25]]), LabelSet(("normal", "covid"), "normal"))
        array([[0.75, 0.25]])
    """
    values, classes = outputs.astype(np.float64), label_set.classes
    is_single = values.ndim == 2 and values.shape[1] == 1 and len(classes) == 2 and not label_set.multi_label
    if not is_single and (values.ndim != 2 or values.shape[1] != len(classes)):
        raise ModelError(f"the model gives {outputs.shape}; expected (n, {len(classes)}), for {', '.join(classes)}")
    if not ((values >= -1e-6) & (values <= 1 + 1e-6)).all():
        raise ModelError(
            f"the outputs range from {outputs.min():.3g} to {outputs.max():.3g}; expected probabilities. If these are "
            "logits, add a softmax or sigmoid to the model"
        )
    values = np.clip(values, 0, 1)
    if is_single:
        return np.concatenate([1 - values, values], axis=1)
    if label_set.multi_label:
        return values
    values = np.maximum(values, 1e-7)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def check_outputs(model: Any, label_set: LabelSet) -> None:
    """Make sure that a model has one output per class, or one for two classes.

    Raises:
        ModelError: if it has not.
    """
    actual, expected = model.output_shape[-1], len(label_set.classes)
    if actual != expected and not (actual == 1 and expected == 2 and not label_set.multi_label):
        raise ModelError(
            f"the model has {actual} outputs; expected {expected}, one for each class: {', '.join(label_set.classes)}"
        )


def describe_constant_output(outputs: NDArray[np.floating], images: NDArray[np.generic]) -> str | None:
    """Return a sentence if a model gives nearly the same for all images, such as after a wrong preprocessing.

    Args:
        outputs: `(n, classes)` probabilities.
        images: gray levels of the images, of any shape.
    """
    if len(outputs) < 2 or (spread := float(np.ptp(outputs, axis=0).max())) >= MIN_SPREAD:
        return None
    means = ", ".join(f"{mean:.4f}" for mean in outputs.mean(axis=0))
    return (
        f"The model gives nearly the same output for all {len(outputs)} images: {means}, with differences up to "
        f"{spread:.1g}. The images range from {images.min():g} to {images.max():g}; a wrong --preprocess, images of "
        "one gray level, or a training that failed have this effect."
    )
