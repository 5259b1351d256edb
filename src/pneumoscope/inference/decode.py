"""One file to the input of the models."""

import numpy as np

from pneumoscope.data.dicom import describe_header
from pneumoscope.data.image import load_pixels
from pneumoscope.data.source import ImageSource, open_source


def decode_radiograph(source: ImageSource, *, size: int = 128) -> tuple[np.ndarray, list[str]]:
    """Decode a file as the training images were decoded.

    Args:
        source: path, bytes, or binary stream.
        size: side of the square that the models take.

    Returns:
        `(size, size)` uint8, 0 = black; and the reasons of a DICOM header against a frontal chest radiograph.

    Raises:
        ImageError: if the file cannot be read as a radiograph.
    """
    with open_source(source) as stream:
        return load_pixels(stream, size=size), describe_header(stream)
