"""Whether an image is like the training images, and what is wrong where it is not.

Images are shrunk to 16 x 16 cells, standardized in brightness and contrast, and checked in three ways:

- Distance from the training images: within their principal components (Mahalanobis) or beside them (residual), in
  units of the training images' own root mean square. This covers inputs of any kind.
- A small multilayer perceptron, trained on the training images and on invalid variants of them
  (`pneumoscope.phantoms.invalid_inputs`). This names the cause.
- Contrast and the shares of black and white pixels before the standardization.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from pneumoscope.phantoms.invalid_inputs import KINDS, PHANTOM, USUAL, make_invalid_inputs, vary_radiograph

CELLS = 16
NUM_COMPONENTS = 24
FLAGGED_SHARE = 0.005
REJECTION_FACTOR = 1.3

REASONS = {
    "inverted": "The film looks inverted, with dark bones.",
    "left": "The film looks turned by a quarter to the left.",
    "right": "The film looks turned by a quarter to the right.",
    "down": "The film looks upside down.",
    "tilted": "The film looks tilted.",
    "part": "This looks like a part of a frontal chest film, or like another view.",
    "other": "This does not look like a frontal chest film.",
    "mirrored": "The film looks mirrored, left for right.",
    PHANTOM: "The film looks unlike those that the models were trained on, more like a drawn phantom.",
}
CAUSES = (USUAL, *REASONS)
SHOWABLE = ("mirrored", PHANTOM)

_UNLIKE = "The film looks unlike those that the models were trained on."
_FAINT = "The film has hardly any contrast."
_CLIPPED = "Much of the film is plain black or plain white."

_HIDDEN = 32
_MAX_PER_KIND = 1000
_TRAINING_SIZE = (64, 64)
_BLACK, _WHITE = 5, 250
_MIN_REJECTED = 0.98
_MIN_FLAGGED = 0.5
_SLACK = 1.25


@dataclass(frozen=True)
class OODDetector:
    """A detector of out-of-distribution images, fitted to training images.

    Attributes:
        mean: `(256,)` float32, of the standardized cells.
        components: `(24, 256)` float32, orthonormal.
        spreads: `(24,)` float32, standard deviation along each component.
        residual: root mean square of the residual.
        flagged_from: distance from which an image is flagged as unlike the training images.
        rejected_from: distance from which it is rejected.
        hidden, hidden_bias: `(256, 32)` and `(32,)` float32, hidden layer of the perceptron.
        output, output_bias: `(32, causes)` and `(causes,)` float32, its last layer, in the order of `CAUSES`.
        cause_from: `(causes,)` float32, probability from which an image is flagged for a cause; the first is not used.
        wrong_from: sum of the causes' probabilities that is rejected; those of `SHOWABLE` do not count.
        least_contrast: standard deviation of gray levels below which an image is flagged; a third of it is rejected.
        most_black, most_white: shares of pixels beyond which an image is flagged.
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
            raise ValueError(f"the last layer is {self.output.shape}, expected a column for each of {CAUSES}")

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float64, the distance of each image; about 1 for a usual one.

        Args:
            images: `(n, H, W)` uint8, sides a multiple of 16.
        """
        return self._measure(_standardize(images))

    def predict_causes(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, causes)` float64, the perceptron's probabilities in the order of `CAUSES`."""
        return self._predict_causes(_standardize(images))

    def check(self, images: np.ndarray) -> list[tuple[bool, bool, str]]:
        """Return for each image whether it is in the domain, whether to reject it, and why.

        Args:
            images: `(n, H, W)` uint8, sides a multiple of 16.
        """
        cells = _standardize(images)
        causes = self._predict_causes(cells)
        rows = zip(
            self._measure(cells).tolist(),
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
            return False, True, _FAINT
        if rejected:
            return False, True, REASONS[CAUSES[cause]]
        if distance >= self.rejected_from:
            return False, True, REASONS["other"]
        if flagged:
            return False, False, REASONS[CAUSES[cause]]
        if contrast < self.least_contrast:
            return False, False, _FAINT
        if black > self.most_black or white > self.most_white:
            return False, False, _CLIPPED
        return (False, False, _UNLIKE) if distance >= self.flagged_from else (True, False, "")

    def _measure(self, cells: np.ndarray) -> np.ndarray:
        centered = cells - self.mean
        scores = centered @ self.components.T
        residual = centered - scores @ self.components
        within = np.sqrt(np.square(scores / self.spreads).mean(axis=1))
        return np.asarray(np.maximum(within, np.sqrt(np.square(residual).mean(axis=1)) / self.residual))

    def _predict_causes(self, cells: np.ndarray) -> np.ndarray:
        logits = np.maximum(cells @ self.hidden + self.hidden_bias, 0) @ self.output + self.output_bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def to_arrays(self) -> dict[str, Any]:
        """Return all attributes by name, for `np.savez`."""
        return {name: np.asarray(value, dtype=np.float32) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "OODDetector":
        """Return the detector that `to_arrays` described."""
        plain: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in arrays.items()}
        return cls(**plain)


def fit_ood_detector(
    train_images: np.ndarray, validation_images: np.ndarray, *, detect_phantoms: bool = True, seed: int = 0
) -> OODDetector:
    """Fit a detector to training images; the limits come from validation images.

    About 0.5 % of the validation images are flagged for their distance, and as many for a cause; rejection begins
    well beyond the worst of them.

    Args:
        train_images, validation_images: `(n, H, W)` uint8, sides a multiple of 16; 48 or more to train on.
        detect_phantoms: whether to learn to flag synthetic phantoms; False where the training images are such.
        seed: of the perceptron and its training images.

    Raises:
        ValueError: if there are too few.
    """
    if len(train_images) < 2 * NUM_COMPONENTS or not len(validation_images):
        counts = f"{len(train_images)} training and {len(validation_images)} validation images"
        raise ValueError(f"{counts} are too few to fit a detector; expected {2 * NUM_COMPONENTS} and 1 or more")
    cells = _standardize(train_images)
    mean = cells.mean(axis=0)
    _, lengths, components = np.linalg.svd(cells - mean, full_matrices=False)
    components = components[:NUM_COMPONENTS]
    residuals = cells - mean - (cells - mean) @ components.T @ components
    exposure = _measure_exposure(validation_images)
    unlimited = OODDetector(
        mean=mean,
        components=components,
        spreads=lengths[:NUM_COMPONENTS] / np.sqrt(len(cells)),
        residual=float(np.sqrt(np.square(residuals).mean())),
        **_fit_perceptron(train_images, detect_phantoms=detect_phantoms, seed=seed),
        flagged_from=np.inf,
        rejected_from=np.inf,
        cause_from=np.ones(len(CAUSES), np.float32),
        wrong_from=1.0,
        least_contrast=float(exposure[:, 0].min() / _SLACK),
        most_black=float(exposure[:, 1].max() * _SLACK),
        most_white=float(exposure[:, 2].max() * _SLACK + 0.01),
    )
    return replace(unlimited, **_choose_limits(unlimited, validation_images))


def _choose_limits(detector: OODDetector, images: np.ndarray) -> dict[str, Any]:
    distances, causes = detector.measure(images), detector.predict_causes(images)
    rejected = float(_sum_rejected(causes).max())
    share = FLAGGED_SHARE / len(REASONS)
    return {
        "flagged_from": float(np.quantile(distances, 1 - FLAGGED_SHARE)),
        "rejected_from": float(REJECTION_FACTOR * distances.max()),
        "cause_from": np.maximum(np.quantile(causes, 1 - share, axis=0), _MIN_FLAGGED).astype(np.float32),
        # Halfway between the worst validation image and certainty.
        "wrong_from": max(1 - (1 - rejected) / 2, _MIN_REJECTED),
    }


def _sum_rejected(causes: np.ndarray) -> np.ndarray:
    columns = [number for number, cause in enumerate(CAUSES) if cause not in (USUAL, *SHOWABLE)]
    return np.asarray(causes[..., columns].sum(axis=-1))


def _fit_perceptron(images: np.ndarray, *, detect_phantoms: bool, seed: int) -> dict[str, np.ndarray]:
    """Return the layers of a perceptron that distinguishes training images from invalid variants of them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    # The cells of smaller images are the same, and their variants are made in a quarter of the time.
    smaller = [Image.fromarray(image).resize(_TRAINING_SIZE, Image.Resampling.BOX) for image in images]
    images = np.stack([np.asarray(image) for image in smaller])
    cells = [_standardize(images), _standardize(np.stack([vary_radiograph(image, rng) for image in images]))]
    labels = [USUAL] * 2 * len(images)
    for name, kind in KINDS.items():
        if kind.learned and (detect_phantoms or kind.cause != PHANTOM):
            sources = images[rng.permutation(len(images))[:_MAX_PER_KIND]]
            cells.append(_standardize(make_invalid_inputs(sources, name, seed=seed)))
            labels += [kind.cause] * len(sources)
    perceptron = MLPClassifier((_HIDDEN,), alpha=1e-2, batch_size=128, max_iter=15, random_state=seed)
    # On layers as small as these, threads only wait for one another.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        perceptron.fit(np.concatenate(cells), labels)
    classes = list(perceptron.classes_)
    columns = np.array([classes.index(cause) if cause in classes else -1 for cause in CAUSES])
    output, output_bias = perceptron.coefs_[1][:, columns], perceptron.intercepts_[1][columns]
    output[:, columns < 0], output_bias[columns < 0] = 0, -1e3
    hidden, hidden_bias = perceptron.coefs_[0], perceptron.intercepts_[0]
    layers = {"hidden": hidden, "hidden_bias": hidden_bias, "output": output, "output_bias": output_bias}
    return {name: values.astype(np.float32) for name, values in layers.items()}


def _measure_exposure(images: np.ndarray) -> np.ndarray:
    """Return `(n, 3)` float64: standard deviation of the gray levels, shares of black and of white pixels."""
    levels = images.reshape(len(images), -1).astype(np.float32)
    squares, means = np.einsum("ni,ni->n", levels, levels) / levels.shape[1], levels.mean(axis=1)
    # One image at a time: along an axis NumPy counts far more slowly.
    clipped = [(np.count_nonzero(image <= _BLACK), np.count_nonzero(image >= _WHITE)) for image in images]
    contrast = np.sqrt(np.maximum(squares - means.astype(np.float64) ** 2, 0))
    return np.column_stack([contrast, np.array(clipped) / levels.shape[1]])


def _standardize(images: np.ndarray) -> np.ndarray:
    """Return `(n, 256)` float32, mean gray levels of the cells, standardized in each image."""
    n, height, width = images.shape
    # Sums of gray levels are exact in float32, whatever their order.
    rows = images.reshape(n, CELLS, -1, width).sum(axis=2, dtype=np.uint32).astype(np.float32)
    cells = rows @ np.eye(CELLS, dtype=np.float32).repeat(width // CELLS, axis=0)
    flat = cells.reshape(n, -1) / np.float32(height // CELLS * (width // CELLS))
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / (flat.std(axis=1, keepdims=True) + 0.25))
