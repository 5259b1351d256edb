"""Decoded images of any number: arrays in memory or on disk, and a cache of decoded images by content."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pneumoscope.data.decode import decode_files
from pneumoscope.errors import CollectionError
from pneumoscope.io.write import lock_file
from pneumoscope.progress import log, track

MAX_IN_MEMORY = 2 << 30
DECODER_VERSION = 3

_AT_ONCE = 256
_DIGEST = 64  # hexadecimal digits of a SHA-256


def allocate_images(number: int, size: int) -> np.ndarray:
    """Return an empty `(number, size, size)` uint8 array: in memory, or on disk where it has more than 2 GiB.

    The array on disk is a memory map of a file without a name, which the system removes with the array.

    Raises:
        CollectionError: if the disk has too little space.
    """
    shape = (number, size, size)
    num_bytes = number * size * size
    if num_bytes <= MAX_IN_MEMORY:
        return np.empty(shape, np.uint8)
    place = (
        f"{num_bytes / (1 << 30):.1f} GiB in a temporary file in {tempfile.gettempdir()} (TMPDIR sets another folder)"
    )
    if shutil.disk_usage(tempfile.gettempdir()).free < num_bytes:
        raise CollectionError(f"{number} images need {place}, which has too little space. Use a smaller image size")
    log.info("%d images take %s", number, place)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def take_images(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return `images[rows]`; more than 2 GiB are not read into memory.

    Args:
        images: `(n, size, size)` uint8, in memory or mapped.
        rows: `(m,)` int, indices of images.

    Returns:
        `(m, size, size)` uint8: a copy in memory, or above 2 GiB a part of `images` where the rows are consecutive,
        and a copy on disk where they are not.
    """
    if len(rows) * images.shape[1] * images.shape[2] <= MAX_IN_MEMORY:
        return np.asarray(images[rows])
    if (np.diff(rows) == 1).all():
        return images[rows[0] : rows[-1] + 1]
    taken = allocate_images(len(rows), images.shape[1])
    for start in range(0, len(rows), _AT_ONCE):
        taken[start : start + _AT_ONCE] = images[rows[start : start + _AT_ONCE]]
    return taken


def decode_images(
    files: Mapping[str, str], size: int, cache_dir: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, dict[str, int], dict[str, str]]:
    """Decode files, except those in the cache.

    Args:
        files: path of each file by its SHA-256.
        size: side of the images in pixels.
        cache_dir: folder of the cache; None for no cache.

    Returns:
        `(m, size, size)` uint8 images, the row of each SHA-256 in them, and the reason for each file that is left out.

    Raises:
        CollectionError: if the cache cannot be written, or the disk has too little space.
    """
    if cache_dir is not None:
        try:
            with open_cache(Path(cache_dir), size) as cache:
                missing = {digest: path for digest, path in files.items() if digest not in cache.rows}
                reasons = _decode_each(missing, size, cache.add)
                return cache.map_images(), cache.rows, reasons
        except OSError as error:
            raise CollectionError(
                f"the image cache {cache_dir} cannot be used: {error}. Fix the cause and run again to continue"
            ) from None
    images, rows = allocate_images(len(files), size), dict[str, int]()

    def add(digest: str, image: np.ndarray) -> None:
        images[len(rows)] = image
        rows[digest] = len(rows)

    return images, rows, _decode_each(files, size, add)


def _decode_each(files: Mapping[str, str], size: int, add: Callable[[str, np.ndarray], None]) -> dict[str, str]:
    """Decode files in threads, pass each image to `add`, and return the reasons for the others."""
    reasons: dict[str, str] = {}
    decoded = decode_files(files.values(), size=size)
    for digest, outcome in zip(files, track(decoded, "Decoding radiographs", total=len(files)), strict=True):
        if isinstance(outcome, str):
            reasons[digest] = outcome
        elif objections := outcome.remarks.objections:
            reasons[digest] = " ".join(objections)
        else:
            add(digest, outcome.pixels)
    return reasons


@contextmanager
def open_cache(folder: Path, size: int) -> Iterator["ImageCache"]:
    """Open or create the cache of one image size, alone: another process waits until it is closed.

    The folder has two files, `images-<size>-v2.raw` with the pixels and `images-<size>-v2.sha256` with the SHA-256 of
    each file. Images are only added. To free the space of images no longer used, delete the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"images-{size}-v{DECODER_VERSION}.{kind}" for kind in ("raw", "sha256")]
    with paths[0].open("ab+") as pixels, paths[1].open("ab+") as index:
        _lock(index)
        yield ImageCache(pixels, index, size)


class ImageCache:
    """Decoded images by the SHA-256 of their files.

    Attributes:
        rows: row of each SHA-256 in `images`.
    """

    def __init__(self, pixels: BinaryIO, index: BinaryIO, size: int) -> None:
        self._pixels, self._index, self._size = pixels, index, size
        index.seek(0)
        digests = index.read().decode("ascii", "replace").split("\n")[:-1]
        whole = os.fstat(pixels.fileno()).st_size // (size * size)
        good = next((row for row, digest in enumerate(digests) if len(digest) != _DIGEST), len(digests))
        number = min(good, whole)
        if number < len(digests):
            log.warning(
                "the image cache is damaged: %d of %d images are decoded again", len(digests) - number, len(digests)
            )
        # An interrupted run leaves pixels without their SHA-256; they are overwritten.
        pixels.truncate(number * size * size)
        index.truncate(number * (_DIGEST + 1))
        self.rows = {digest: row for row, digest in enumerate(digests[:number])}

    def add(self, digest: str, image: np.ndarray) -> None:
        """Append an image. After a kill, the next run keeps all images whose pixels and SHA-256 are both complete."""
        self._pixels.write(image.tobytes())
        self._index.write(f"{digest}\n".encode())
        self.rows[digest] = len(self.rows)

    def map_images(self) -> np.ndarray:
        """Return `(n, size, size)` uint8, mapped from the disk; changes do not reach the file."""
        self._pixels.flush()
        shape = (len(self.rows), self._size, self._size)
        return np.memmap(self._pixels, np.uint8, "c", shape=shape) if self.rows else np.empty(shape, np.uint8)


def _lock(file: BinaryIO) -> None:
    """Lock a file until it is closed."""
    try:
        if not lock_file(file, wait=False):
            log.info("another process fills the image cache; waiting")
            lock_file(file, wait=True)
    except (ImportError, OSError) as error:
        log.warning("the image cache cannot be locked (%s); do not use it in two processes at once", error)
