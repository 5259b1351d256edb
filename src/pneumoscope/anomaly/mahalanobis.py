"""Anomaly detection by the Mahalanobis distance of features.

Source: O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features
for Anomaly Detection", ICPR 2020, with the shrunk covariance of O. Ledoit and M. Wolf (2004).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.features import extract_normals, extract_patches, pool_patches, score_batches, upsample_maps

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Mahalanobis:
    """Anomaly detector by one Gaussian of image features, and one of patch features for anomaly maps.

    Attributes:
        trunk: patch feature extractor.
        mean, whitening: `(d,)` and `(d, d)` float32, Gaussian of the mean patch feature of an image without its border.
        patch_mean: `(h, w, d)` float32, mean patch feature at each position.
        patch_whitening: `(d, d)` float32, shared by all positions.
    """

    trunk: "keras.Model"
    mean: np.ndarray
    whitening: np.ndarray
    patch_mean: np.ndarray
    patch_whitening: np.ndarray

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the Mahalanobis distance of the mean patch feature of each image."""
        return score_batches(
            lambda patches: _measure(pool_patches(patches) - self.mean, self.whitening), self.trunk, images
        )

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the Mahalanobis distance of each patch, upsampled."""
        offsets = extract_patches(self.trunk, images) - self.patch_mean
        return upsample_maps(_measure(offsets, self.patch_whitening), images.shape[1])


def fit_mahalanobis(trunk: "keras.Model", images: np.ndarray, *, seed: int = 0) -> Mahalanobis:
    """Fit both Gaussians to `(n, H, W)` uint8 normals; see `extract_normals`."""
    patches = extract_normals(trunk, images, seed=seed)
    patch_mean = patches.mean(axis=0)
    offsets = (patches - patch_mean).reshape(-1, patches.shape[-1])
    return Mahalanobis(trunk, *fit_gaussian(pool_patches(patches)), patch_mean, fit_gaussian(offsets)[1])


def fit_gaussian(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and `(d, d)` whitening matrix; the norm of `(x - mean) @ whitening` is the Mahalanobis distance."""
    from sklearn.covariance import LedoitWolf

    estimate = LedoitWolf().fit(values.astype(np.float64))
    scales, axes = np.linalg.eigh(estimate.covariance_)
    whitening = axes / np.sqrt(np.maximum(scales, 1e-9 * scales.max()))
    return estimate.location_.astype(np.float32), whitening.astype(np.float32)


def _measure(offsets: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(offsets @ whitening, axis=-1), dtype=np.float32)
