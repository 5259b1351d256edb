"""Probabilities of a Keras classifier."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import ImageError

_BATCH_SIZE = 128


def predict_classes(model: Any, images: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the probability of each class.

    Args:
        model: a Keras classifier that takes `(n, H, W, channels)` with values 0 to 255.
        images: `(n, H, W)` gray levels from 0 to 255. Each channel of the model gets the same gray levels.

    Returns:
        `(n, classes)` float64. Rows sum to 1: the outputs, such as one sigmoid per class, are divided by their sum.

    Raises:
        ImageError: if the images have another size than the model takes.
    """
    height, width, channels = model.input_shape[1:]
    if images.ndim != 3 or images.shape[1:] != (height or images.shape[1], width or images.shape[2]):
        raise ImageError(f"images of shape {images.shape}; expected (n, {height}, {width}), as the model takes them")
    if not len(images):
        return np.empty((0, model.output_shape[-1]))
    inputs = np.repeat(images[..., None], channels, axis=-1) if channels else images[..., None]
    outputs = np.asarray(model.predict(inputs, batch_size=_BATCH_SIZE, verbose=0), dtype=np.float64)
    outputs = np.clip(outputs, 1e-7, 1)
    return np.asarray(outputs / outputs.sum(axis=1, keepdims=True))
