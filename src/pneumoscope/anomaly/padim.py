"""Anomaly detection by a Gaussian of patch features at each position (PaDiM).

Source: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization", ICPR 2021.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.anomaly.detector import split_images
from pneumoscope.anomaly.features import FeatureSource, extract_patches, map_patches
from pneumoscope.progress import track

SMALLEST_VARIANCE = 0.01  # covariance regularization, relative to the mean variance
# PaDiM scores an image by the maximum distance, which suits small defects. Opacities of pneumonia are larger.
TOP_SHARE = 0.1


@dataclass(frozen=True)
class Padim:
    """Anomaly detector by one Gaussian at each position of the feature map.

    Attributes:
        source: patch feature extractor.
        channels: `(k,)` int, randomly selected channels.
        means: `(h, w, k)` float32.
        precisions: `(h * w, k, k)` float32, inverse covariances.
    """

    source: FeatureSource
    channels: np.ndarray
    means: np.ndarray
    precisions: np.ndarray

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean of the largest 10 % of the patch distances."""
        scores = []
        for part in track(split_images(images), "Scoring by PaDiM"):
            distances = self._measure(part).reshape(len(part), -1)
            count = max(1, round(TOP_SHARE * distances.shape[1]))
            scores.append(np.partition(distances, distances.shape[1] - count, axis=1)[:, -count:].mean(axis=1))
        return np.concatenate(scores)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the Mahalanobis distance at each position, upsampled."""
        return map_patches(self._measure, images)

    def _measure(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, h, w)` float32, the Mahalanobis distance at each position."""
        offsets = extract_patches(self.source, images)[..., self.channels] - self.means
        flat = offsets.reshape(len(offsets), -1, len(self.channels)).transpose(1, 0, 2)
        squares = np.einsum("pnk,pnk->pn", flat @ self.precisions, flat)
        return np.asarray(np.sqrt(np.maximum(squares, 0)).T.reshape(offsets.shape[:3]), dtype=np.float32)


def fit_padim(source: FeatureSource, images: np.ndarray, *, num_channels: int = 64, seed: int = 0) -> Padim:
    """Fit a Gaussian to the patch features of normals at each position.

    Sums are accumulated per batch, so memory does not grow with the number of images.

    Args:
        source: patch feature extractor.
        images: `(n, H, W)` uint8 normals.
        num_channels: number of randomly selected channels.
        seed: of the selection.
    """
    height, width, depth = source.patches.output_shape[1:]
    channels = np.sort(np.random.default_rng(seed).permutation(depth)[:num_channels])
    sums = np.zeros((height * width, len(channels)))
    products = np.zeros((height * width, len(channels), len(channels)), np.float32)
    origin = None
    for part in track(split_images(images), f"Fitting PaDiM on {source.name}"):
        features = extract_patches(source, part)[..., channels].reshape(len(part), -1, len(channels)).transpose(1, 0, 2)
        # Sums of squares are centered on the mean of the first batch, for float32 precision.
        origin = features.mean(axis=1, keepdims=True) if origin is None else origin
        sums += (features - origin).sum(axis=1)
        products += (features - origin).transpose(0, 2, 1) @ (features - origin)
    assert origin is not None
    means = sums / len(images)
    covariances = products / len(images) - np.einsum("pi,pj->pij", means, means)
    ridge = SMALLEST_VARIANCE * np.trace(covariances, axis1=1, axis2=2).mean() / len(channels) + 1e-8
    precisions = np.linalg.inv(covariances + ridge * np.eye(len(channels)))
    means = (means + origin[:, 0]).reshape(height, width, -1).astype(np.float32)
    return Padim(source, channels, means, precisions.astype(np.float32))
