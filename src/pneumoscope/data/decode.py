"""Decode files to the input of the models, as training and inference do."""

import hashlib
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.dicom import describe_header
from pneumoscope.data.identity import Identity
from pneumoscope.data.image import ImageInput, load_gray
from pneumoscope.data.remarks import Remarks
from pneumoscope.data.source import open_source, read_all
from pneumoscope.errors import ImageError

_AT_ONCE = 256


@dataclass(frozen=True)
class DecodedImage:
    """One radiograph as the models take it.

    Attributes:
        pixels: `(size, size)` uint8, 0 = black.
        remarks: what is noticed about the image.
        identity: of its DICOM header.
        sha256: of the file; empty for a PIL image or an array.
    """

    pixels: NDArray[np.uint8]
    remarks: Remarks = field(default_factory=Remarks)
    identity: Identity = field(default_factory=Identity)
    sha256: str = ""


def decode_radiograph(source: ImageInput, *, size: int = 128) -> DecodedImage:
    """Decode one image as the training images were decoded.

    Args:
        source: see `load_image`.
        size: side in pixels of the square that the models take.

    Raises:
        ImageError: if the image cannot be read.
    """
    remarks = Remarks()
    if isinstance(source, Image.Image | np.ndarray):
        return DecodedImage(_decode(source, size, remarks), remarks)
    with open_source(source) as stream:
        identity = describe_header(stream, remarks)
        pixels = _decode(stream, size, remarks)
        return DecodedImage(pixels, remarks, identity, hashlib.sha256(read_all(stream)).hexdigest())


def _decode(source: ImageInput, size: int, remarks: Remarks) -> NDArray[np.uint8]:
    return np.asarray(np.rint(load_gray(source, size=size, remarks=remarks) * 255), dtype=np.uint8)


def decode_file(source: ImageInput, *, size: int) -> DecodedImage | str:
    """Return the result of `decode_radiograph`, or the reason why the image cannot be read."""
    try:
        return decode_radiograph(source, size=size)
    except ImageError as error:
        return str(error)


def decode_files(paths: Collection[str], *, size: int) -> Iterator[DecodedImage | str]:
    """Yield the result of `decode_file` for each path, in order, decoded by threads."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _AT_ONCE):  # all at once, the images would wait in memory
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow: damaged EXIF data; the pixels are intact
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                part = list(pool.map(partial(decode_file, size=size), paths[start : start + _AT_ONCE]))
            yield from part
