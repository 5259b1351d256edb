"""Anomaly detection by a Gaussian of patch features at each position (PaDiM).

Source: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization", ICPR 2021. PaDiM scores an image by its highest distance, which suits small defects.
Opacities of pneumonia are large and often diffuse: the score is the mean distance without the border.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.features import crop_border, extract_normals, extract_patches, score_batches, upsample_maps

if TYPE_CHECKING:
    import keras

RIDGE = 0.01  # covariance regularization, relative to the mean variance


@dataclass(frozen=True)
class Padim:
    """Anomaly detector by one Gaussian at each position of the grid.

    Attributes:
        trunk: patch feature extractor.
        means: `(h, w, d)` float32.
        whitenings: `(h, w, d, d)` float32; the norm of `(x - mean) @ whitening` is the Mahalanobis distance.
    """

    trunk: "keras.Model"
    means: np.ndarray
    whitenings: np.ndarray

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean of the patch distances."""
        return score_batches(lambda patches: crop_border(self._measure(patches)).mean(axis=(1, 2)), self.trunk, images)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the Mahalanobis distance at each position, upsampled."""
        return upsample_maps(self._measure(extract_patches(self.trunk, images)), images.shape[1])

    def _measure(self, patches: np.ndarray) -> np.ndarray:
        """Return `(n, h, w)` float32, the Mahalanobis distance at each position."""
        offsets = (patches - self.means)[..., None, :]
        return np.asarray(np.linalg.norm((offsets @ self.whitenings)[..., 0, :], axis=-1))


def fit_padim(trunk: "keras.Model", images: np.ndarray, *, seed: int = 0) -> Padim:
    """Fit a Gaussian at each position to `(n, H, W)` uint8 normals; see `extract_normals`."""
    patches = extract_normals(trunk, images, seed=seed)
    means = patches.mean(axis=0)
    whitenings = np.empty((*means.shape, means.shape[-1]), np.float32)
    for row, column in np.ndindex(means.shape[:2]):
        offsets = (patches[:, row, column] - means[row, column]).astype(np.float64)
        covariance = offsets.T @ offsets / len(offsets)
        scales, axes = np.linalg.eigh(covariance)
        whitenings[row, column] = axes / np.sqrt(np.maximum(scales, 0) + RIDGE * scales.mean() + 1e-8)
    return Padim(trunk, means, whitenings)
