"""Copies of a radiograph in other files, found by a perceptual hash.

The hash is pHash (E. Klinger and D. Starkweather, pHash.org, 2010) with 256 bits. Chest radiographs look alike, so
that the usual 64 bits do not separate them. Measured on the train images of Kermany (5,216, each against those of all
other patients): the closest two differ in 38 bits, so no image is mistaken for a copy at the limit of 24 (95 % limit:
0.06 % of images). Copies that were resized to 100 to 224 pixels, compressed as JPEG of quality 40 to 85, or changed
in brightness by 20 and in contrast by 15 % differ in at most 18 bits, and 90 full-size originals in at most 8: none
is missed. Copies shifted by one of 128 pixels or rotated by one degree are mostly found; copies cropped by 1.5 % or
more are mostly missed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pneumoscope.errors import ModelError
from pneumoscope.io.read import read_arrays
from pneumoscope.io.write import atomic_write
from pneumoscope.progress import track

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset

KNOWN_NAME = "training_images.npz"  # beside a trained model
MAX_DISTANCE = 24

_HASH_SIDE = 16
# The lowest frequencies of a discrete cosine transform (type II, without scale) of four times as many pixels.
_COSINES = np.cos(np.pi * np.outer(np.arange(_HASH_SIDE), np.arange(4 * _HASH_SIDE) + 0.5) / (4 * _HASH_SIDE))
_PAIRS_AT_ONCE = 1 << 22


def hash_images(images: np.ndarray) -> np.ndarray:
    """Return `(n, 4)` uint64, the 256-bit perceptual hash of each image.

    Args:
        images: `(n, H, W)` uint8, with sides of 48 pixels or more.
    """
    hashes = [hash_image(pixels) for pixels in track(images, "Hashing images", total=len(images))]
    return np.array(hashes, np.uint64).reshape(len(images), -1)


def hash_image(pixels: np.ndarray) -> np.ndarray:
    """Return `(4,)` uint64, the hash of one image; see `hash_images`."""
    small = Image.fromarray(pixels).resize((len(_COSINES[0]),) * 2, Image.Resampling.LANCZOS)
    frequencies = _COSINES @ np.asarray(small, dtype=np.float64) @ _COSINES.T
    return np.packbits(frequencies > np.median(frequencies)).view(np.uint64)


def find_known(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return `(n,)` bool: whether each image is a copy of a known one, such as one that a model was trained on.

    Args:
        hashes: `(n, 4)` uint64, from `hash_images`.
        known: `(m, 4)` uint64, hashes of the known images.
    """
    found = np.zeros(len(hashes), bool)
    for start, distances in _measure_distances(hashes, known):
        found[start : start + len(distances)] = (distances <= MAX_DISTANCE).any(axis=1)
    return found


def write_known_images(dataset: "Dataset", path: Path) -> None:
    """Write the SHA-256 and the perceptual hash of each image, such as of the training images beside a model."""
    with atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez(stream, sha256=dataset.table["sha256"].to_numpy().astype("S64"), hashes=hash_images(dataset.images))


def read_known_images(path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return `(n,)` str and `(n, 4)` uint64, the hashes that `write_known_images` wrote; None without the file.

    Raises:
        ModelError: if the file is damaged.
    """
    if not path.is_file():
        return None, None
    try:
        known = read_arrays(path)
        return known["sha256"].astype(str), known["hashes"].astype(np.uint64).reshape(-1, 4)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({error}); delete it, or train the model again") from None


def find_near_duplicates(images: np.ndarray, sha256: np.ndarray) -> list[tuple[int, int, int]]:
    """Find pairs of different files that hold the same radiograph.

    Args:
        images: `(n, H, W)` uint8.
        sha256: `(n,)` str, SHA-256 of each file; only the first of several exact duplicates is compared.

    Returns:
        One `(first, second, distance)` per pair: indices with `first < second`, and the number of differing bits.
    """
    rows = np.sort(np.unique(sha256, return_index=True)[1])
    hashes = hash_images(images)[rows]
    pairs = []
    for start, distances in _measure_distances(hashes, hashes):
        first, second = np.nonzero(distances <= MAX_DISTANCE)
        for row, other in zip(first + start, second, strict=True):
            if row < other:
                pairs.append((int(rows[row]), int(rows[other]), int(distances[row - start, other])))
    return pairs


def _measure_distances(hashes: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield row numbers and `(rows, m)` int, the numbers of differing bits, for some rows at a time."""
    step = max(1, _PAIRS_AT_ONCE // max(1, len(others)))
    for start in range(0, len(hashes), step):
        distances = np.zeros((len(hashes[start : start + step]), len(others)), np.int16)
        for word in range(hashes.shape[1]):
            distances += np.bitwise_count(hashes[start : start + step, word, None] ^ others[:, word])
        yield start, distances
