"""A radiograph and the heatmap of its prediction, at display size."""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.image import ImageInput, load_gray
from pneumoscope.inference.explanation import resize_heatmap, shrink
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading


def illustrate(
    reader: Reader, source: ImageInput, image: NDArray[np.uint8], reading: Reading
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return a radiograph at display size with the heatmap of its predicted class.

    If the decision is `uncertain`, the heatmap is of the more probable class, normal or pneumonia.

    Args:
        reader: the reader that returned the reading.
        source: the radiograph, see `load_image`.
        image: `(size, size)` uint8, the same radiograph as the models take it.
        reading: the prediction for the radiograph, without an error.

    Returns:
        The radiograph, `(H, W)` float32 in [0, 1], with its own aspect ratio and sides of at most 2,048 pixels; and the
        heatmap, of the same shape and range, or None if the image is rejected or the classifier has no heatmaps.

    Raises:
        ImageError: if the image cannot be read.
    """
    radiograph = shrink(load_gray(source))
    if reading.decision == "rejected" or not reader.has_heatmaps:
        return radiograph, None
    label = choose_explained_class(reading.decision, reading.probabilities["pneumonia"])
    (heatmap,) = reader.compute_heatmaps(image[None], [label])
    return radiograph, resize_heatmap(heatmap, radiograph.shape)


def choose_explained_class(decision: str | None, p_pneumonia: float) -> str:
    """Return the class that the heatmap of a reading explains: the decision; if uncertain, the more probable class.

    Example:
        >>> choose_explained_class("normal", 0.55), choose_explained_class("uncertain", 0.55)
        ('normal', 'pneumonia')
    """
    if decision in ("normal", "pneumonia"):
        return decision
    return "pneumonia" if p_pneumonia >= 0.5 else "normal"
