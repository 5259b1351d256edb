"""Anomaly detection by one Gaussian of patch features at each position (PaDiM).

Source: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization", ICPR 2021.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.anomaly.detector import mean_of_largest, split_images, upsample_maps
from pneumoscope.anomaly.features import MAP_BLUR, FeatureSource, extract_patches
from pneumoscope.progress import track

SMALLEST_VARIANCE = 0.01  # regularization, as a share of the mean variance


@dataclass(frozen=True)
class Padim:
    """One Gaussian at each position of the feature map.

    Attributes:
        source: of the patch features.
        channels: `(k,)` int, the randomly chosen channels of a patch.
        means: `(h, w, k)` float32.
        precisions: `(h * w, k, k)` float32, inverse covariances.
        top_share: share of the patches, those with the largest distances, whose mean distance is the score; 0 is the
            maximum, as published.
    """

    source: FeatureSource
    channels: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    top_share: float = 0.0

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean of the largest distances."""
        parts = track(split_images(images), "Scoring by PaDiM")
        return np.concatenate([mean_of_largest(self._measure(part), self.top_share) for part in parts])

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the distance at each position."""
        size = images.shape[1]
        return np.concatenate(
            [upsample_maps(self._measure(part), size, blur=MAP_BLUR) for part in split_images(images)]
        )

    def _measure(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, h, w)` float32."""
        offsets = extract_patches(self.source, images)[..., self.channels] - self.means
        flat = offsets.reshape(len(offsets), -1, len(self.channels)).transpose(1, 0, 2)
        squares = np.einsum("pnk,pnk->pn", flat @ self.precisions, flat)
        return np.sqrt(np.maximum(squares, 0)).T.reshape(offsets.shape[:3]).astype(np.float32)


def fit_padim(
    source: FeatureSource, images: np.ndarray, *, num_channels: int = 64, top_share: float = 0.0, seed: int = 0
) -> Padim:
    """Fit a Gaussian to the patches of normals at each position.

    Memory is bounded: sums are gathered batch by batch, `h * w * num_channels ** 2` numbers in all.

    Args:
        source: of the patch features.
        images: `(n, H, W)` uint8 normals.
        num_channels: channels of a patch that are kept, chosen at random.
        top_share: see `Padim`.
        seed: of that choice.
    """
    height, width, depth = source.patches.output_shape[1:]
    channels = np.sort(np.random.default_rng(seed).permutation(depth)[:num_channels])
    sums = np.zeros((height * width, len(channels)))
    products = np.zeros((height * width, len(channels), len(channels)), np.float32)
    origin = None
    for part in track(split_images(images), f"Fitting PaDiM on {source.name}"):
        cells = extract_patches(source, part)[..., channels].reshape(len(part), -1, len(channels)).transpose(1, 0, 2)
        # Sums of squares are taken about the first images, so that 32 bits hold them.
        origin = cells.mean(axis=1, keepdims=True) if origin is None else origin
        sums += (cells - origin).sum(axis=1)
        products += (cells - origin).transpose(0, 2, 1) @ (cells - origin)
    assert origin is not None
    means = sums / len(images)
    covariances = products / len(images) - np.einsum("pi,pj->pij", means, means)
    ridge = SMALLEST_VARIANCE * np.trace(covariances, axis1=1, axis2=2).mean() / len(channels) + 1e-8
    precisions = np.linalg.inv(covariances + ridge * np.eye(len(channels)))
    return Padim(
        source,
        channels,
        (means + origin[:, 0]).reshape(height, width, -1).astype(np.float32),
        precisions.astype(np.float32),
        top_share,
    )
