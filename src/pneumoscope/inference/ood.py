"""Detect out-of-distribution (OOD) images and name the cause.

Each image is reduced to a 16 x 16 thumbnail with standardized brightness and contrast. Three checks follow:

- Distance to the training images: the Mahalanobis distance within their principal components, or the residual outside
  of them, whichever is larger. The unit is the root mean square of the training images. This check covers any input.
- A small multilayer perceptron, trained on the training images and on invalid variants of them
  (`pneumoscope.phantoms.invalid_inputs`). It names the cause.
- Contrast and the shares of black and white pixels, measured before standardization.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from pneumoscope.phantoms.invalid_inputs import KINDS, PHANTOM, USUAL, make_invalid_inputs, vary_radiograph

THUMBNAIL_SIDE = 16
NUM_COMPONENTS = 24
FLAGGED_SHARE = 0.005
REJECTION_FACTOR = 1.3

REASONS = {
    "inverted": "The image appears inverted (dark bones).",
    "left": "The image appears rotated by 90 degrees to the left.",
    "right": "The image appears rotated by 90 degrees to the right.",
    "down": "The image appears upside down.",
    "tilted": "The image appears tilted.",
    "part": "This looks like part of a frontal chest radiograph or like another view.",
    "other": "This does not look like a frontal chest radiograph.",
    "mirrored": "The image appears mirrored (left and right swapped).",
    PHANTOM: "The image differs from the training images and resembles a synthetic phantom.",
}
CAUSES = (USUAL, *REASONS)
# Causes that flag an image but never reject it.
FLAG_ONLY_CAUSES = ("mirrored", PHANTOM)

_UNLIKE = "The image differs from the training images."
_LOW_CONTRAST = "The image has very low contrast."
_CLIPPED = "Large parts of the image are completely black or white."

_HIDDEN = 32
_MAX_PER_KIND = 1000
_TRAINING_SIZE = (64, 64)
_BLACK, _WHITE = 5, 250
_MIN_REJECTED = 0.98
_MIN_FLAGGED = 0.5
_MARGIN = 1.25


@dataclass(frozen=True)
class OODDetector:
    """A detector of out-of-distribution images, fitted to training images.

    Attributes:
        mean: `(256,)` float32, mean of the standardized thumbnails.
        components: `(24, 256)` float32, orthonormal principal components.
        spreads: `(24,)` float32, standard deviation along each component.
        residual: root mean square of the training images' residuals.
        flagged_from: an image is flagged when its distance >= `flagged_from`.
        rejected_from: an image is rejected when its distance >= `rejected_from`.
        hidden, hidden_bias: `(256, 32)` and `(32,)` float32, hidden layer of the perceptron.
        output, output_bias: `(32, causes)` and `(causes,)` float32, output layer, in the order of `CAUSES`.
        cause_from: `(causes,)` float32, an image is flagged when the probability of a cause >= its threshold. The first
            value is not used.
        wrong_from: an image is rejected when the sum of its causes' probabilities >= `wrong_from`. The sum excludes
            `FLAG_ONLY_CAUSES`.
        least_contrast: an image is flagged when the standard deviation of its gray levels is lower. It is rejected
            below a third of this value.
        most_black, most_white: an image is flagged when its share of black or white pixels is larger.
    """

    mean: np.ndarray
    components: np.ndarray
    spreads: np.ndarray
    residual: float
    flagged_from: float
    rejected_from: float
    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray
    cause_from: np.ndarray
    wrong_from: float
    least_contrast: float
    most_black: float
    most_white: float

    def __post_init__(self) -> None:
        if self.output.shape != (len(self.hidden_bias), len(CAUSES)) or self.cause_from.shape != (len(CAUSES),):
            raise ValueError(f"the output layer is {self.output.shape}; expected a column for each of {CAUSES}")

    def check(self, images: np.ndarray) -> list[tuple[bool, bool, str]]:
        """Check each image.

        Args:
            images: `(n, H, W)` uint8, sides a multiple of 16.

        Returns:
            For each image: whether it is in distribution, whether it is rejected, and the reason (empty where the
            image is in distribution).
        """
        thumbnails = standardize(images)
        causes = self.predict_causes(thumbnails)
        rows = zip(
            self.measure(thumbnails).tolist(),
            (1 + causes[:, 1:].argmax(axis=1)).tolist(),
            (_sum_rejected(causes) >= self.wrong_from).tolist(),
            np.any(causes[:, 1:] >= self.cause_from[1:], axis=1).tolist(),
            _measure_exposure(images).tolist(),
            strict=True,
        )
        return [self._check_one(*row) for row in rows]

    def _check_one(
        self, distance: float, cause: int, rejected: bool, flagged: bool, exposure: Sequence[float]
    ) -> tuple[bool, bool, str]:
        contrast, black, white = exposure
        if contrast < self.least_contrast / 3:
            return False, True, _LOW_CONTRAST
        if rejected:
            return False, True, REASONS[CAUSES[cause]]
        if distance >= self.rejected_from:
            return False, True, REASONS["other"]
        if flagged:
            return False, False, REASONS[CAUSES[cause]]
        if contrast < self.least_contrast:
            return False, False, _LOW_CONTRAST
        if black > self.most_black or white > self.most_white:
            return False, False, _CLIPPED
        return (False, False, _UNLIKE) if distance >= self.flagged_from else (True, False, "")

    def measure(self, thumbnails: np.ndarray) -> np.ndarray:
        """Return the distance of each image to the training images, `(n,)` float64; typical images have about 1."""
        centered = thumbnails - self.mean
        scores = centered @ self.components.T
        residual = centered - scores @ self.components
        within = np.sqrt(np.square(scores / self.spreads).mean(axis=1))
        return np.asarray(np.maximum(within, np.sqrt(np.square(residual).mean(axis=1)) / self.residual))

    def predict_causes(self, thumbnails: np.ndarray) -> np.ndarray:
        """Return the perceptron's probabilities, `(n, causes)` float64, in the order of `CAUSES`."""
        logits = np.maximum(thumbnails @ self.hidden + self.hidden_bias, 0) @ self.output + self.output_bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def to_arrays(self) -> dict[str, Any]:
        """Return all attributes by name, as input of `np.savez`."""
        return {name: np.asarray(value, dtype=np.float32) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "OODDetector":
        """Return a detector from the arrays that `to_arrays` returned."""
        plain: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in arrays.items()}
        return cls(**plain)


def fit_ood_detector(
    train_images: np.ndarray, validation_images: np.ndarray, *, detect_phantoms: bool = True, seed: int = 0
) -> OODDetector:
    """Fit an OOD detector to training images and choose its thresholds on validation images.

    About 0.5 % of the validation images are flagged for their distance, and about 0.5 % for a cause. Every rejection
    threshold lies above the maximum over the validation images.

    Args:
        train_images: `(n, H, W)` uint8, sides a multiple of 16; 48 images or more.
        validation_images: `(n, H, W)` uint8, sides a multiple of 16; 1 image or more.
        detect_phantoms: whether to flag synthetic phantoms. Use False where the training images are phantoms.
        seed: seed of the perceptron and of its invalid training inputs.

    Raises:
        ValueError: if there are too few images.
    """
    if len(train_images) < 2 * NUM_COMPONENTS or not len(validation_images):
        counts = f"{len(train_images)} training and {len(validation_images)} validation images"
        raise ValueError(
            f"{counts} are too few to fit an OOD detector; expected at least {2 * NUM_COMPONENTS} training images and "
            "1 validation image"
        )
    thumbnails = standardize(train_images)
    mean = thumbnails.mean(axis=0)
    _, lengths, components = np.linalg.svd(thumbnails - mean, full_matrices=False)
    components = components[:NUM_COMPONENTS]
    residuals = thumbnails - mean - (thumbnails - mean) @ components.T @ components
    exposure = _measure_exposure(validation_images)
    unlimited = OODDetector(
        mean=mean,
        components=components,
        spreads=lengths[:NUM_COMPONENTS] / np.sqrt(len(thumbnails)),
        residual=float(np.sqrt(np.square(residuals).mean())),
        **_fit_perceptron(train_images, detect_phantoms=detect_phantoms, seed=seed),
        flagged_from=np.inf,
        rejected_from=np.inf,
        cause_from=np.ones(len(CAUSES), np.float32),
        wrong_from=1.0,
        least_contrast=float(exposure[:, 0].min() / _MARGIN),
        most_black=float(exposure[:, 1].max() * _MARGIN),
        most_white=float(exposure[:, 2].max() * _MARGIN + 0.01),
    )
    return replace(unlimited, **_choose_thresholds(unlimited, validation_images))


def _choose_thresholds(detector: OODDetector, images: np.ndarray) -> dict[str, Any]:
    thumbnails = standardize(images)
    distances, causes = detector.measure(thumbnails), detector.predict_causes(thumbnails)
    rejected = float(_sum_rejected(causes).max())
    share = FLAGGED_SHARE / len(REASONS)
    return {
        "flagged_from": float(np.quantile(distances, 1 - FLAGGED_SHARE)),
        "rejected_from": float(REJECTION_FACTOR * distances.max()),
        "cause_from": np.maximum(np.quantile(causes, 1 - share, axis=0), _MIN_FLAGGED).astype(np.float32),
        # Halfway between the largest sum on validation and 1.
        "wrong_from": max(1 - (1 - rejected) / 2, _MIN_REJECTED),
    }


def _sum_rejected(causes: np.ndarray) -> np.ndarray:
    columns = [number for number, cause in enumerate(CAUSES) if cause not in (USUAL, *FLAG_ONLY_CAUSES)]
    return np.asarray(causes[..., columns].sum(axis=-1))


def _fit_perceptron(images: np.ndarray, *, detect_phantoms: bool, seed: int) -> dict[str, np.ndarray]:
    """Return the layers of a perceptron that distinguishes training images from invalid variants of them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    # Smaller images give the same thumbnails in a quarter of the time.
    smaller = [Image.fromarray(image).resize(_TRAINING_SIZE, Image.Resampling.BOX) for image in images]
    images = np.stack([np.asarray(image) for image in smaller])
    thumbnails = [standardize(images), standardize(np.stack([vary_radiograph(image, rng) for image in images]))]
    labels = [USUAL] * 2 * len(images)
    for name, kind in KINDS.items():
        if kind.learned and (detect_phantoms or kind.cause != PHANTOM):
            sources = images[rng.permutation(len(images))[:_MAX_PER_KIND]]
            thumbnails.append(standardize(make_invalid_inputs(sources, name, seed=seed)))
            labels += [kind.cause] * len(sources)
    perceptron = MLPClassifier((_HIDDEN,), alpha=1e-2, batch_size=128, max_iter=15, random_state=seed)
    # Layers this small run faster in one thread.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        perceptron.fit(np.concatenate(thumbnails), labels)
    classes = list(perceptron.classes_)
    columns = np.array([classes.index(cause) if cause in classes else -1 for cause in CAUSES])
    output, output_bias = perceptron.coefs_[1][:, columns], perceptron.intercepts_[1][columns]
    output[:, columns < 0], output_bias[columns < 0] = 0, -1e3
    hidden, hidden_bias = perceptron.coefs_[0], perceptron.intercepts_[0]
    layers = {"hidden": hidden, "hidden_bias": hidden_bias, "output": output, "output_bias": output_bias}
    return {name: values.astype(np.float32) for name, values in layers.items()}


def _measure_exposure(images: np.ndarray) -> np.ndarray:
    """Return standard deviation of the gray levels, share of black and share of white pixels, `(n, 3)` float64."""
    levels = images.reshape(len(images), -1).astype(np.float32)
    squares, means = np.einsum("ni,ni->n", levels, levels) / levels.shape[1], levels.mean(axis=1)
    # `np.count_nonzero` is much slower with an axis.
    clipped = [(np.count_nonzero(image <= _BLACK), np.count_nonzero(image >= _WHITE)) for image in images]
    contrast = np.sqrt(np.maximum(squares - means.astype(np.float64) ** 2, 0))
    return np.column_stack([contrast, np.array(clipped) / levels.shape[1]])


def standardize(images: np.ndarray) -> np.ndarray:
    """Return 16 x 16 thumbnails of block means, flattened and standardized per image, `(n, 256)` float32.

    The sides of the images are multiples of 16.
    """
    n, height, width = images.shape
    side = THUMBNAIL_SIDE
    # Sums of gray levels are exact in float32 in any order.
    rows = images.reshape(n, side, -1, width).sum(axis=2, dtype=np.uint32).astype(np.float32)
    sums = rows @ np.eye(side, dtype=np.float32).repeat(width // side, axis=0)
    flat = sums.reshape(n, -1) / np.float32(height // side * (width // side))
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / (flat.std(axis=1, keepdims=True) + 0.25))
