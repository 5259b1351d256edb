"""How far an image is from normals that are taken to be Gaussian: as a whole, or at each place."""

from dataclasses import dataclass

import numpy as np

from pneumoscope.progress import track
from pneumoscope.tasks.anomaly.detector import enlarge_maps, pool_largest, split_images
from pneumoscope.tasks.anomaly.features import FeatureSource, average_patches, extract_patches

PATCHES_FOR_COVARIANCE = 40_000
SMALLEST_VARIANCE = 0.01  # PaDiM's regularization, share of the mean variance
BLUR = 4 / 224  # of PaDiM's and PatchCore's maps


@dataclass(frozen=True)
class Mahalanobis:
    """Distance from normals, by one Gaussian of whole images, and one of patches about the mean of their place.

    Source: O. Rippel, P. Mertens and D. Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features
    for Anomaly Detection", ICPR 2020; covariance shrunk after O. Ledoit and M. Wolf (2004).

    Attributes:
        source: where patches come from.
        mean, whitening: `(d,)` and `(d, d)` float32 of the mean patches of images.
        patch_mean: `(h, w, d)` float32, the mean at each place; tissue that is odd in a lung is not odd elsewhere.
        patch_whitening: `(d, d)` float32 of patches about those means, one for all places.
    """

    source: FeatureSource
    mean: np.ndarray
    whitening: np.ndarray
    patch_mean: np.ndarray
    patch_whitening: np.ndarray

    @property
    def num_bytes(self) -> int:
        """Size of weights, means and matrices in bytes."""
        return self.source.num_bytes + sum(
            part.nbytes for part in (self.mean, self.whitening, self.patch_mean, self.patch_whitening)
        )

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that it takes."""
        return int(self.source.patches.input_shape[1])

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the distance of each image's mean patch."""
        return _measure(average_patches(self.source, images) - self.mean, self.whitening)

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the distance of each patch."""
        maps = [
            enlarge_maps(
                _measure(extract_patches(self.source, part) - self.patch_mean, self.patch_whitening),
                images.shape[1],
                blur=BLUR,
            )
            for part in split_images(images)
        ]
        return np.concatenate(maps)


def fit_mahalanobis(source: FeatureSource, images: np.ndarray, *, seed: int = 0) -> Mahalanobis:
    """Fit both Gaussians to normals.

    Args:
        source: where patches come from.
        images: `(n, H, W)` uint8 normals.
        seed: of the patches that the second covariance is told from, `PATCHES_FOR_COVARIANCE` at most.
    """
    rng = np.random.default_rng(seed)
    means, patches, places = [], [], []
    total: np.ndarray | float = 0.0
    share = max(1, PATCHES_FOR_COVARIANCE // len(images))
    for part in track(split_images(images), f"Fitting Gaussians on {source.name}"):
        cells = extract_patches(source, part)
        means.append(cells.mean(axis=(1, 2)))
        total = total + cells.sum(axis=0, dtype=np.float64)
        flat = cells.reshape(len(cells), -1, cells.shape[-1])
        drawn = rng.integers(0, flat.shape[1], (len(flat), min(share, flat.shape[1])))
        places.append(drawn.ravel())
        patches.append(np.take_along_axis(flat, drawn[..., None], axis=1).reshape(-1, flat.shape[-1]))
    patch_mean = (np.asarray(total) / len(images)).astype(np.float32)
    offsets = np.concatenate(patches) - patch_mean.reshape(-1, patch_mean.shape[-1])[np.concatenate(places)]
    return Mahalanobis(source, *fit_gaussian(np.concatenate(means)), patch_mean, fit_gaussian(offsets)[1])


def fit_gaussian(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and `(d, d)` whitening matrix: the norm of `(x - mean) @ whitening` is the distance of x."""
    from sklearn.covariance import LedoitWolf

    found = LedoitWolf().fit(values.astype(np.float64))
    scales, axes = np.linalg.eigh(found.covariance_)
    whitening = axes / np.sqrt(np.maximum(scales, 1e-9 * scales.max()))
    return found.location_.astype(np.float32), whitening.astype(np.float32)


def _measure(offsets: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    return np.linalg.norm(offsets @ whitening, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Padim:
    """Distance from normals by one Gaussian at each place of the grid.

    Source: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
    Detection and Localization", ICPR 2021.

    Attributes:
        source: where patches come from.
        channels: `(k,)` int, the channels of a patch that were drawn by lot.
        means: `(h, w, k)` float32.
        precisions: `(h * w, k, k)` float32, inverse covariances.
        top_share: share of the cells, the oddest, whose mean distance is the score; 0 is the oddest, as published.
    """

    source: FeatureSource
    channels: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    top_share: float = 0.0

    @property
    def num_bytes(self) -> int:
        """Size of weights, means and matrices in bytes."""
        return self.source.num_bytes + self.means.nbytes + self.precisions.nbytes + self.channels.nbytes

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the distance of the oddest cells."""
        parts = track(split_images(images), "Scoring by PaDiM")
        return np.concatenate([pool_largest(self._measure(part), self.top_share) for part in parts])

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the distance at each place."""
        size = images.shape[1]
        return np.concatenate([enlarge_maps(self._measure(part), size, blur=BLUR) for part in split_images(images)])

    def _measure(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, h, w)` float32."""
        offsets = extract_patches(self.source, images)[..., self.channels] - self.means
        flat = offsets.reshape(len(offsets), -1, len(self.channels)).transpose(1, 0, 2)
        squares = np.einsum("pnk,pnk->pn", flat @ self.precisions, flat)
        return np.sqrt(np.maximum(squares, 0)).T.reshape(offsets.shape[:3]).astype(np.float32)


def fit_padim(
    source: FeatureSource, images: np.ndarray, *, num_channels: int = 64, top_share: float = 0.0, seed: int = 0
) -> Padim:
    """Fit a Gaussian to the patches of normals at each place.

    Memory is bounded: sums are gathered part by part, `h * w * num_channels ** 2` numbers in all.

    Args:
        source: where patches come from.
        images: `(n, H, W)` uint8 normals.
        num_channels: channels of a patch that are kept, drawn by lot.
        top_share: see `Padim`.
        seed: of that lot.
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
