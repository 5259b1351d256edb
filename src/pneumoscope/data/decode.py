"""Decode files to the input of the models, as training and inference do."""

import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.dicom import describe_header
from pneumoscope.data.image import ImageInput, load_image
from pneumoscope.data.source import open_source
from pneumoscope.errors import ImageError

_AT_ONCE = 256


def decode_radiograph(source: ImageInput, *, size: int = 128) -> tuple[NDArray[np.uint8], list[str]]:
    """Decode one image as the training images were decoded.

    Args:
        source: see `load_image`.
        size: side in pixels of the square that the models take.

    Returns:
        `(size, size)` uint8, 0 = black; and the reasons in its DICOM header to reject the image, see `describe_header`.

    Raises:
        ImageError: if the image cannot be read.
    """
    if isinstance(source, Image.Image | np.ndarray):
        return load_image(source, size=size), []
    with open_source(source) as stream:
        return load_image(stream, size=size), describe_header(stream)


def decode_file(source: ImageInput, *, size: int) -> tuple[NDArray[np.uint8], list[str]] | str:
    """Return the result of `decode_radiograph`, or the reason why the image cannot be read."""
    try:
        return decode_radiograph(source, size=size)
    except ImageError as error:
        return str(error)


def decode_files(paths: Collection[str], *, size: int) -> Iterator[tuple[NDArray[np.uint8], list[str]] | str]:
    """Yield the result of `decode_file` for each path, in order, decoded by threads."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _AT_ONCE):  # all at once, the images would wait in memory
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow: damaged EXIF data; the pixels are intact
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                part = list(pool.map(partial(decode_file, size=size), paths[start : start + _AT_ONCE]))
            yield from part
