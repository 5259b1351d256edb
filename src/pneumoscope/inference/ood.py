"""Detect out-of-distribution (OOD) images and name the cause.

Each check is a number that is larger for images unlike the training images:

- The Mahalanobis distance of the mean feature of a pretrained network from those of the training images (K. Lee et al.,
  "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018).
- The score of each wrong orientation, by a linear classifier of the feature grid that learns from turned, mirrored and
  inverted training images.
- Plain measurements of the pixels, see `measure_pixels`.

No other invalid input takes part in fitting. The score of an image is the largest of its checks, in units of their
spread over held-out images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pneumoscope.io.results import check_shapes

ORIENTATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "left": lambda images: np.rot90(images, 1, (1, 2)),
    "right": lambda images: np.rot90(images, -1, (1, 2)),
    "down": lambda images: images[:, ::-1, ::-1],
    "flipped": lambda images: images[:, ::-1],
    "mirrored": lambda images: images[:, :, ::-1],
    "inverted": lambda images: 255 - images,
}
REASONS = {
    "distance": "The image differs from the training images.",
    "left": "The image appears rotated by 90 degrees to the left.",
    "right": "The image appears rotated by 90 degrees to the right.",
    "down": "The image appears upside down.",
    "flipped": "The image appears upside down.",
    "mirrored": "The image appears mirrored (left and right swapped).",
    "inverted": "The image appears inverted (dark bones).",
    "contrast": "The image has very low contrast.",
    "black": "The image is saturated: {:.0%} of its pixels are black.",
    "white": "The image is saturated: {:.0%} of its pixels are white.",
    "jumps": "The gray levels wrap around: {:.0%} of neighboring pixels differ by nearly the whole range.",
    "blur": "The image is blurred.",
    "noise": "The image is noisy, or its gray levels wrap around.",
    "bars": "Uniform bars cover {:.0%} of a side of the image.",
}
CHECKS = tuple(REASONS)
# Checks that flag an image but never reject it.
FLAG_ONLY = ("mirrored",)
_UNLIKE = "This does not look like a frontal chest radiograph as in the training images."
_PHANTOM = "The image differs from the training images and resembles a synthetic phantom."

_BLACK, _WHITE = 5, 250
_JUMP = 192
# An image unlike all orientations is named after one only if its score is higher than this; upright is -1, turned 1.
_CLEARLY_TURNED = 0.25


@dataclass(frozen=True)
class OODDetector:
    """A detector of out-of-distribution images, fitted to training images.

    Features are `(n, h, w, d)` patch features or `(n, d)` embeddings, float32.

    Attributes:
        mean: `(d,)`, mean of the mean features.
        whitening: `(d, m)`; the inverse of their covariance is `whitening @ whitening.T`.
        phantom_mean: `(d,)`, mean of the mean features of phantoms.
        phantom_radius: an image resembles a phantom if its distance from `phantom_mean` is at most `phantom_radius`
            and less than from `mean`; 0 where the training images are phantoms.
        weights, bias: `(h * w * d, 6)` and `(6,)`, scores of `ORIENTATIONS` relative to upright, from the features.
        typical, spread: `(checks,)`, median and spread of `CHECKS` on validation images.
        flagged_from: an image is flagged when its score >= `flagged_from`.
        rejected_from: an image is rejected when its score without `FLAG_ONLY` >= `rejected_from`. The distance does not
            reject an image that resembles a phantom.
    """

    mean: np.ndarray
    whitening: np.ndarray
    phantom_mean: np.ndarray
    phantom_radius: float
    weights: np.ndarray
    bias: np.ndarray
    typical: np.ndarray
    spread: np.ndarray
    flagged_from: float
    rejected_from: float

    def __post_init__(self) -> None:
        num, width = len(CHECKS), len(np.atleast_1d(self.mean))
        check_shapes(self, mean=(width,), phantom_mean=(width,), typical=(num,), spread=(num,))
        check_shapes(self, weights=(len(self.weights), len(ORIENTATIONS)), bias=(len(ORIENTATIONS),))
        check_shapes(self, whitening=(width, self.whitening.shape[-1]))

    def check(self, images: np.ndarray, features: np.ndarray) -> list[tuple[bool, bool, str]]:
        """Check each image.

        Args:
            images: `(n, H, W)` uint8.
            features: their features.

        Returns:
            For each image: whether it is in distribution, whether it is rejected, and the reason (empty where the
            image is in distribution).
        """
        values = self.measure(images, features)
        to_phantoms = self.measure_distance(features, self.phantom_mean)
        phantoms = (to_phantoms <= self.phantom_radius) & (to_phantoms < values[:, 0])
        return [self._check_one(*row) for row in zip(values, self._scale(values), phantoms, strict=True)]

    def _check_one(self, values: np.ndarray, excess: np.ndarray, is_phantom: bool) -> tuple[bool, bool, str]:
        if excess.max() < self.flagged_from:
            return True, False, ""
        ignored = (*FLAG_ONLY, "distance") if is_phantom else FLAG_ONLY
        rejected = any(excess[row] >= self.rejected_from for row, name in enumerate(CHECKS) if name not in ignored)
        if is_phantom and not rejected:
            return False, False, _PHANTOM
        cause = 1 + int(excess[1:].argmax())
        is_clear = CHECKS[cause] not in ORIENTATIONS or excess[cause] > excess[0] or values[cause] > _CLEARLY_TURNED
        if excess[cause] < self.flagged_from or not is_clear:
            return False, rejected, _UNLIKE if rejected else REASONS["distance"]
        return False, rejected, REASONS[CHECKS[cause]].format(values[cause])

    def score(self, images: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Return the largest check of each image in units of its spread, `(n,)`; higher is less like training."""
        return np.asarray(self._scale(self.measure(images, features)).max(axis=1))

    def _scale(self, values: np.ndarray) -> np.ndarray:
        return np.asarray((values - self.typical) / self.spread)

    def measure(self, images: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Return all checks, `(n, checks)` float64, in the order of `CHECKS`."""
        orientations = features.reshape(len(features), -1) @ self.weights + self.bias
        pixels = np.array([measure_pixels(image) for image in images])
        return np.column_stack([self.measure_distance(features, self.mean), orientations, pixels])

    def measure_distance(self, features: np.ndarray, center: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance of each image from `center`, `(n,)`; about 1 between training images."""
        return np.asarray(np.sqrt(np.square((pool_features(features) - center) @ self.whitening).mean(axis=1)))

    def to_arrays(self) -> dict[str, Any]:
        """Return all attributes by name, as input of `np.savez`."""
        return {name: np.asarray(value, dtype=np.float32) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "OODDetector":
        """Return a detector from the arrays that `to_arrays` returned."""
        plain: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in arrays.items()}
        return cls(**plain)


def measure_pixels(image: np.ndarray) -> tuple[float, ...]:
    """Return the checks from `contrast` to `bars` for an `(H, W)` uint8 image of 2 pixels a side or more.

    - `contrast`: negative logarithm of the standard deviation of the gray levels.
    - `black`, `white`: shares of pixels at either end of the range.
    - `jumps`: share of horizontal neighbors that differ by nearly the whole range, as after `astype(uint8)`.
    - `blur`, `noise`: negative and positive logarithm of the mean difference of neighbors, relative to the contrast.
    - `bars`: the larger of the shares of uniform rows and of uniform columns.
    """
    levels = image.astype(np.int16)
    across, down = np.abs(np.diff(levels, axis=1)), np.abs(np.diff(levels, axis=0))
    contrast = float(np.log(levels.std() + 0.01))
    sharpness = float(np.log(across.mean() + down.mean() + 0.01)) - contrast
    bars = max(float(np.mean(~across.any(axis=1))), float(np.mean(~down.any(axis=0))))
    black, white = (np.count_nonzero(pixels) / image.size for pixels in (image <= _BLACK, image >= _WHITE))
    return -contrast, black, white, float(np.mean(across >= _JUMP)), -sharpness, sharpness, bars


def pool_features(features: np.ndarray) -> np.ndarray:
    """Return the mean feature of each image, `(n, d)`."""
    return features if features.ndim == 2 else np.asarray(features.mean(axis=(1, 2)))
