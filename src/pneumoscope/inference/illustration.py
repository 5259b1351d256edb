"""The film behind a reading and the heat that lies on it, at the size of a picture."""

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
    """Return the film, and where the classifier saw what spoke for its answer.

    The heat is that of the decided class, and of the more probable one where the decision is not sure; for pneumonia
    it is that of its more probable kind.

    Args:
        reader: that gave the reading.
        source: path, bytes or binary stream of the film.
        image: `(size, size)` uint8, the film as it was read.
        reading: of the film, without an error.

    Returns:
        `(H, W)` float32 in [0, 1], the film with its own sides' ratio, 2,048 pixels at most; and the heat-map of the
        same shape and range, or None where the reading is a refusal.

    Raises:
        ImageError: if the film cannot be read.
    """
    film = Image.fromarray(load_image(source))
    film.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
    picture = np.clip(np.asarray(film), 0, 1)
    if reading.decision == "refused":
        return picture, None
    sick = reading.decision == "pneumonia" or (
        reading.decision == "not sure" and reading.probabilities["pneumonia"] >= 0.5
    )
    (heat,) = reader.draw_heatmaps(image[None], ["pneumonia" if sick else "normal"])
    stretched = Image.fromarray(heat).resize(film.size, Image.Resampling.BILINEAR)
    return picture, np.clip(np.asarray(stretched), 0, 1)
