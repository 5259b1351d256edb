"""A radiograph and its heatmap at the size of a picture."""

import numpy as np
from PIL import Image

from pneumoscope.data.image import load_image
from pneumoscope.data.source import ImageSource
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import Reading

MAX_SIDE = 2048


def illustrate(
    reader: Reader, source: ImageSource, image: np.ndarray, reading: Reading
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a radiograph and the heatmap of the decided class; where undecided, of the more probable one.

    Args:
        reader: that gave the reading.
        source: path, bytes or binary stream of the radiograph.
        image: `(size, size)` uint8, the radiograph as the models see it.
        reading: of the radiograph, without an error.

    Returns:
        `(H, W)` float32 in [0, 1], the radiograph with its own aspect ratio and sides of 2,048 pixels at most; and the
        heatmap of the same shape and range, or None where the image is rejected.

    Raises:
        ImageError: if the file cannot be read.
    """
    radiograph = Image.fromarray(load_image(source))
    radiograph.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
    picture = np.clip(np.asarray(radiograph), 0, 1)
    if reading.decision == "rejected":
        return picture, None
    label = reading.decision
    if label == "uncertain":
        label = "pneumonia" if reading.probabilities["pneumonia"] >= 0.5 else "normal"
    (heatmap,) = reader.draw_heatmaps(image[None], [str(label)])
    resized = Image.fromarray(heatmap).resize(radiograph.size, Image.Resampling.BILINEAR)
    return picture, np.clip(np.asarray(resized), 0, 1)
