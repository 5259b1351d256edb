"""What every detector of anomalies does, and how maps of cells become maps of pixels."""

from typing import Protocol

import numpy as np

IMAGES_AT_ONCE = 64


class Detector(Protocol):
    """A method fitted on normals only; higher scores are odder.

    Attributes:
        num_bytes: size of all that it must remember, weights and arrays.
    """

    @property
    def num_bytes(self) -> int:
        """Size of weights and remembered arrays in bytes."""

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32 scores of `(n, H, W)` uint8 images."""

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, how odd each pixel of `(n, H, W)` uint8 images is."""


def enlarge_maps(maps: np.ndarray, size: int, *, blur: float = 0.0) -> np.ndarray:
    """Return maps of cells as maps of pixels, by bilinear interpolation.

    Args:
        maps: `(n, h, w)` floats.
        size: side of the pixel maps.
        blur: standard deviation of a Gaussian blur afterwards, share of the size.

    Returns:
        `(n, size, size)` float32.
    """
    import cv2

    found = np.empty((len(maps), size, size), np.float32)
    for number, cells in enumerate(maps):
        pixels = cv2.resize(np.asarray(cells, dtype=np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        found[number] = cv2.GaussianBlur(pixels, (0, 0), blur * size) if blur else pixels
    return found


def split_images(images: np.ndarray) -> list[np.ndarray]:
    """Return images in parts of at most `IMAGES_AT_ONCE`, so that memory stays bounded."""
    return [images[start : start + IMAGES_AT_ONCE] for start in range(0, len(images), IMAGES_AT_ONCE)]


def pool_largest(maps: np.ndarray, share: float) -> np.ndarray:
    """Return `(n,)` float32, the mean of the largest `share` of the values of each map `(n, ...)`."""
    values = np.asarray(maps, dtype=np.float32).reshape(len(maps), -1)
    count = max(1, round(share * values.shape[1]))
    return np.partition(values, values.shape[1] - count, axis=1)[:, -count:].mean(axis=1)
