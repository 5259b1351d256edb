"""Anomaly detection by the distance to a memory bank of patch features (PatchCore).

Source: K. Roth, L. Pemula, J. Zepeda, B. Schölkopf, T. Brox and P. Gehler, "Towards Total Recall in Industrial Anomaly
Detection", CVPR 2022.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.features import (
    extract_normals,
    extract_patches,
    score_batches,
    square_distances,
    upsample_maps,
)
from pneumoscope.progress import track

if TYPE_CHECKING:
    import keras

BANK_SIZE = 2000
NUM_CANDIDATES = 30_000
NUM_NEIGHBORS = 9  # neighbors in the memory bank that reweight the image score
NUM_PROJECTED = 64  # dimensions of the random projection for coreset selection (Johnson-Lindenstrauss)


@dataclass(frozen=True)
class Patchcore:
    """Anomaly detector by the distance to a memory bank.

    Attributes:
        trunk: patch feature extractor.
        bank: `(m, d)` float32, memory bank of patch features of normals.
    """

    trunk: "keras.Model"
    bank: np.ndarray

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the reweighted maximum patch distance of each image."""
        return score_batches(lambda patches: self._weigh_largest(patches, *self._measure(patches)), self.trunk, images)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the distance of each patch to the memory bank, upsampled."""
        return upsample_maps(self._measure(extract_patches(self.trunk, images))[0], images.shape[1])

    def _measure(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distance and index of the nearest patch in the memory bank, `(n, h, w)` each."""
        shape = patches.shape[:3]
        distances, nearest = [], []
        for image in patches.reshape(shape[0], -1, patches.shape[-1]):
            squares = square_distances(image, self.bank)
            nearest.append(squares.argmin(axis=1))
            distances.append(np.sqrt(squares.min(axis=1)))
        return np.stack(distances).reshape(shape).astype(np.float32), np.stack(nearest).reshape(shape)

    def _weigh_largest(self, patches: np.ndarray, distances: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Return the maximum distance of each image, reweighted by the neighborhood in the memory bank."""
        places = (np.arange(len(patches)), distances.reshape(len(patches), -1).argmax(axis=1))
        distance = distances.reshape(len(patches), -1)[places]
        patch = patches.reshape(len(patches), -1, patches.shape[-1])[places]
        centers = self.bank[nearest.reshape(len(patches), -1)[places]]
        count = min(NUM_NEIGHBORS, len(self.bank))
        around = np.argpartition(square_distances(centers, self.bank), count - 1, axis=1)[:, :count]
        neighbors = np.linalg.norm(patch[:, None] - self.bank[around], axis=-1)
        # Softmax as published, shifted against overflow. Distances are divided by the root of the dimension: with
        # hundreds of channels the softmax would saturate.
        root = np.sqrt(patches.shape[-1])
        highest = np.maximum(neighbors.max(axis=1), distance) / root
        share = np.exp(distance / root - highest) / np.exp(neighbors / root - highest[:, None]).sum(axis=1)
        return np.asarray((1 - np.minimum(share, 1)) * distance)


def fit_patchcore(
    trunk: "keras.Model",
    images: np.ndarray,
    *,
    bank_size: int = BANK_SIZE,
    num_candidates: int = NUM_CANDIDATES,
    seed: int = 0,
) -> Patchcore:
    """Build a memory bank of patch features of normals by coreset selection.

    Args:
        trunk: patch feature extractor.
        images: `(n, H, W)` uint8 normals; see `extract_normals`.
        bank_size: maximum size of the memory bank.
        num_candidates: maximum number of random patches to select from.
        seed: of the candidates, the projection and the first point.
    """
    patches = extract_normals(trunk, images, seed=seed)
    pool = patches.reshape(-1, patches.shape[-1])
    pool = pool[np.sort(np.random.default_rng(seed).permutation(len(pool))[:num_candidates])]
    return Patchcore(trunk, pool[choose_coreset(pool, bank_size, seed=seed)])


def choose_coreset(points: np.ndarray, num_chosen: int, *, seed: int = 0) -> np.ndarray:
    """Select a coreset by greedy farthest-point sampling (k-center).

    Source: O. Sener and S. Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018).

    Args:
        points: `(n, d)` float32.
        num_chosen: size of the coreset; if `n` is smaller, all points are returned.
        seed: of the projection and the first point.

    Returns:
        `(m,)` int, indices in the order of selection.

    Example:
        >>> points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]], np.float32)
        >>> sorted(choose_coreset(points, 3).tolist())[-1]
        4
    """
    rng = np.random.default_rng(seed)
    if num_chosen >= len(points):
        return np.arange(len(points))
    if points.shape[1] > NUM_PROJECTED:
        projection = rng.standard_normal((points.shape[1], NUM_PROJECTED)) / np.sqrt(NUM_PROJECTED)
        points = points @ projection.astype(np.float32)
    norms = np.einsum("nd,nd->n", points, points)
    chosen = np.empty(num_chosen, np.int64)
    chosen[0] = rng.integers(len(points))
    nearest = np.full(len(points), np.inf, np.float32)
    for number in track(range(1, num_chosen), "Selecting the coreset"):
        last = chosen[number - 1]
        np.minimum(nearest, norms - 2 * (points @ points[last]) + norms[last], out=nearest)
        nearest[last] = -np.inf
        chosen[number] = nearest.argmax()
    return chosen
