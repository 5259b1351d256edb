"""Anomaly detection by the distance to the nearest normals; the included normality model.

Source: L. Bergman, N. Cohen and Y. Hoshen, "Deep Nearest Neighbor Anomaly Detection", arXiv 2002.10445, 2020. The score
compares mean patch features of images, the anomaly map patch features at the same position.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.features import (
    extract_normals,
    extract_patches,
    pool_patches,
    score_batches,
    square_distances,
    upsample_maps,
)

if TYPE_CHECKING:
    import keras

NUM_NEIGHBORS = 5
MAP_NORMALS = 200  # normals whose patches are kept for the anomaly map; limits the size of the model


@dataclass(frozen=True)
class NearestNormals:
    """Anomaly detector by the mean distance to the `NUM_NEIGHBORS` nearest normals.

    Attributes:
        trunk: patch feature extractor.
        features: `(m, d)` float32, mean patch features of the normals without their borders.
        patches: `(k, h, w, d)` float32, patch features of `MAP_NORMALS` random normals.
    """

    trunk: "keras.Model"
    features: np.ndarray
    patches: np.ndarray

    @property
    def image_size(self) -> int:
        """Side length of the input images in pixels."""
        return int(self.trunk.input_shape[1])

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the distance of the mean patch feature from those of the nearest normals."""
        return score_batches(lambda patches: _measure(pool_patches(patches), self.features), self.trunk, images)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the distance of each patch from the nearest at its position, upsampled."""
        patches = extract_patches(self.trunk, images)
        distances = np.empty(patches.shape[:3], np.float32)
        for row, column in np.ndindex(patches.shape[1:3]):
            distances[:, row, column] = _measure(patches[:, row, column], self.patches[:, row, column])
        return upsample_maps(distances, images.shape[1])


def fit_knn(trunk: "keras.Model", images: np.ndarray, *, seed: int = 0) -> NearestNormals:
    """Keep the features of `(n, H, W)` uint8 normals; see `extract_normals`."""
    patches = extract_normals(trunk, images, seed=seed)
    kept = np.sort(np.random.default_rng(seed).permutation(len(patches))[:MAP_NORMALS])
    return NearestNormals(trunk, pool_patches(patches), patches[kept])


def _measure(features: np.ndarray, normals: np.ndarray) -> np.ndarray:
    count, center = min(NUM_NEIGHBORS, len(normals)), normals.mean(axis=0)  # centered for the precision of float32
    nearest = np.partition(square_distances(features - center, normals - center), count - 1, axis=1)[:, :count]
    return np.asarray(np.sqrt(nearest).mean(axis=1))
