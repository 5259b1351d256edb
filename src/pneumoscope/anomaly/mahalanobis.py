"""Anomaly detection by the Mahalanobis distance of features.

Source: O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features
for Anomaly Detection", ICPR 2020, with the shrunk covariance of O. Ledoit and M. Wolf (2004).
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.anomaly.detector import split_images
from pneumoscope.anomaly.features import FeatureSource, average_patches, extract_patches, map_patches
from pneumoscope.progress import track

PATCHES_FOR_COVARIANCE = 40_000


@dataclass(frozen=True)
class Mahalanobis:
    """Anomaly detector by one Gaussian of image features, and one of patch features for anomaly maps.

    Attributes:
        source: patch feature extractor.
        mean, whitening: `(d,)` and `(d, d)` float32, Gaussian of the mean patch feature of an image.
        patch_mean: `(h, w, d)` float32, mean patch feature at each position.
        patch_whitening: `(d, d)` float32, shared by all positions.
    """

    source: FeatureSource
    mean: np.ndarray
    whitening: np.ndarray
    patch_mean: np.ndarray
    patch_whitening: np.ndarray

    @property
    def image_size(self) -> int:
        """Side length of the input images in pixels."""
        return int(self.source.patches.input_shape[1])

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the Mahalanobis distance of the mean patch feature of each image."""
        return _measure(average_patches(self.source, images) - self.mean, self.whitening)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the Mahalanobis distance of each patch, upsampled."""

        def measure(part: np.ndarray) -> np.ndarray:
            return _measure(extract_patches(self.source, part) - self.patch_mean, self.patch_whitening)

        return map_patches(measure, images)


def fit_mahalanobis(source: FeatureSource, images: np.ndarray, *, seed: int = 0) -> Mahalanobis:
    """Fit both Gaussians to normals.

    Args:
        source: patch feature extractor.
        images: `(n, H, W)` uint8 normals.
        seed: of the sample of at most `PATCHES_FOR_COVARIANCE` patches for the patch covariance.
    """
    rng = np.random.default_rng(seed)
    means, patches, positions = [], [], []
    total: np.ndarray | float = 0.0
    share = max(1, PATCHES_FOR_COVARIANCE // len(images))
    for part in track(split_images(images), f"Fitting Gaussians on {source.name}"):
        features = extract_patches(source, part)
        means.append(features.mean(axis=(1, 2)))
        total = total + features.sum(axis=0, dtype=np.float64)
        flat = features.reshape(len(features), -1, features.shape[-1])
        sample = rng.integers(0, flat.shape[1], (len(flat), min(share, flat.shape[1])))
        positions.append(sample.ravel())
        patches.append(np.take_along_axis(flat, sample[..., None], axis=1).reshape(-1, flat.shape[-1]))
    patch_mean = (np.asarray(total) / len(images)).astype(np.float32)
    offsets = np.concatenate(patches) - patch_mean.reshape(-1, patch_mean.shape[-1])[np.concatenate(positions)]
    return Mahalanobis(source, *fit_gaussian(np.concatenate(means)), patch_mean, fit_gaussian(offsets)[1])


def fit_gaussian(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and `(d, d)` whitening matrix; the norm of `(x - mean) @ whitening` is the Mahalanobis distance."""
    from sklearn.covariance import LedoitWolf

    estimate = LedoitWolf().fit(values.astype(np.float64))
    scales, axes = np.linalg.eigh(estimate.covariance_)
    whitening = axes / np.sqrt(np.maximum(scales, 1e-9 * scales.max()))
    return estimate.location_.astype(np.float32), whitening.astype(np.float32)


def _measure(offsets: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(offsets @ whitening, axis=-1), dtype=np.float32)
