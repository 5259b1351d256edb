"""Anomaly detection by the distance to the nearest normals.

Source: L. Bergman, N. Cohen and Y. Hoshen, "Deep Nearest Neighbor Anomaly Detection", arXiv 2002.10445, 2020. Features
are those of the mean patch; anomaly maps use the patches at the same position.
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


@dataclass(frozen=True)
class NearestNormals:
    """Anomaly detector by the mean distance to the nearest normals.

    Attributes:
        trunk: patch feature extractor.
        patches: `(m, h, w, d)` float32, patch features of the normals.
    """

    trunk: "keras.Model"
    patches: np.ndarray

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean distance of the mean patch feature to those of the nearest normals."""
        normals = pool_patches(self.patches)
        return score_batches(lambda patches: _measure(pool_patches(patches), normals), self.trunk, images)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the same for the patch at each position, upsampled."""
        patches = extract_patches(self.trunk, images)
        height, width = patches.shape[1:3]
        distances = [_measure(patches[:, row, column], self.patches[:, row, column])
                     for row in range(height) for column in range(width)]  # fmt: skip
        return upsample_maps(np.stack(distances, axis=1).reshape(-1, height, width), images.shape[1])


def fit_knn(trunk: "keras.Model", images: np.ndarray, *, seed: int = 0) -> NearestNormals:
    """Keep the patch features of `(n, H, W)` uint8 normals; see `extract_normals`."""
    return NearestNormals(trunk, extract_normals(trunk, images, seed=seed))


def _measure(features: np.ndarray, normals: np.ndarray) -> np.ndarray:
    count = min(NUM_NEIGHBORS, len(normals))
    nearest = np.partition(square_distances(features, normals), count - 1, axis=1)[:, :count]
    return np.asarray(np.sqrt(nearest).mean(axis=1))
