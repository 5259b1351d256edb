"""A radiograph and the heatmap of its prediction, at display size."""

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.image import ImageInput, load_gray
from pneumoscope.inference.decision import choose_explained_class
from pneumoscope.inference.explanation import resize_heatmap, shrink
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import REJECTED, Reading


def illustrate(
    reader: Reader, source: ImageInput, image: NDArray[np.uint8], reading: Reading
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return a radiograph at display size, and the heatmap of its decision, see `choose_explained_class`.

    Args:
        reader: the reader that made the reading.
        source: the radiograph, see `load_image`; one that cannot be read is an `ImageError`.
        image: `(size, size)` uint8, the same radiograph as the models take it.
        reading: the prediction for the radiograph, without an error.

    Returns:
        `(H, W)` float32 in [0, 1], with sides of at most 2,048 pixels; and the heatmap of the same shape and range,
        or None if the image is rejected or the classifier has no heatmaps.
    """
    radiograph = shrink(load_gray(source))
    if reading.decision == REJECTED or not reader.has_heatmaps:
        return radiograph, None
    label = choose_explained_class(reader.label_set, reading.decision, reading.probabilities)
    (heatmap,) = reader.compute_heatmaps(image[None], [label])
    return radiograph, resize_heatmap(heatmap, radiograph)
