"""Whether an image looks like those that the models were trained on.

Frontal chest films are alike at a coarse look: two dark lungs, a bright middle, a bright belly. Images are
shrunk to 16 x 16 cells, freed of brightness and contrast, and described by the principal components of the
training images. What is unusual within those components (Mahalanobis distance) or left over beside them
(residual) is odd; both are in units of the training images' own root mean square, and the larger one counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

CELLS = 16
NUM_COMPONENTS = 24
FLAGGED_SHARE = 0.005
REFUSAL_FACTOR = 1.3
POSE_FACTOR = 0.8

_POSES = {
    "inverted, with dark bones": lambda images: 255 - images,
    "turned by a quarter to the left": lambda images: np.rot90(images, -1, (1, 2)),
    "turned by a quarter to the right": lambda images: np.rot90(images, 1, (1, 2)),
    "upside down": lambda images: images[:, ::-1, ::-1],
}


@dataclass(frozen=True)
class Domain:
    """The look of a body of training images.

    Attributes:
        mean: `(256,)` float32, of the described images.
        components: `(24, 256)` float32, orthonormal.
        spreads: `(24,)` float32, standard deviation along each component.
        residual: root mean square of what the components leave.
        flagged_from: oddness from which an image counts as unlike the training images.
        refused_from: oddness from which it counts as no frontal chest film at all.
    """

    mean: np.ndarray
    components: np.ndarray
    spreads: np.ndarray
    residual: float
    flagged_from: float
    refused_from: float

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float64, how odd each image is; about 1 for a usual one.

        Args:
            images: `(n, H, W)` uint8, sides a multiple of 16.
        """
        described = _describe(images) - self.mean
        along = described @ self.components.T
        left = described - along @ self.components
        within = np.sqrt(np.square(along / self.spreads).mean(axis=1))
        return np.maximum(within, np.sqrt(np.square(left).mean(axis=1)) / self.residual)

    def judge(self, images: np.ndarray) -> list[tuple[bool, bool, str]]:
        """Return for each image whether it is in the domain, whether to refuse it, and why.

        An image is refused if it would look much more usual once inverted or turned, or if it is too odd.
        """
        oddness = self.measure(images)
        posed = {name: self.measure(change(images)) for name, change in _POSES.items()}
        return [
            self._judge_one(odd, {name: found[number] for name, found in posed.items()})
            for number, odd in enumerate(oddness)
        ]

    def _judge_one(self, odd: float, posed: dict[str, float]) -> tuple[bool, bool, str]:
        pose = min(posed, key=lambda name: posed[name])
        if posed[pose] < min(POSE_FACTOR * odd, self.flagged_from):
            return False, True, f"The film looks {pose}."
        if odd >= self.refused_from:
            return False, True, "This does not look like a frontal chest film."
        if odd >= self.flagged_from:
            return False, False, "The film looks unlike those that the models were trained on."
        return True, False, ""

    def to_arrays(self) -> dict[str, Any]:
        """Return all attributes by name, fit for `np.savez`."""
        return {name: np.asarray(value, dtype=np.float32) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Domain":
        """Return what `to_arrays` described."""
        plain: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in arrays.items()}
        return cls(**plain)


def fit_domain(train_images: np.ndarray, validation_images: np.ndarray) -> Domain:
    """Learn the look of training images; the limits come from validation images.

    `flagged_from` flags 0.5 % of the validation images; `refused_from` lies 1.3 times beyond the oddest of them.

    Args:
        train_images, validation_images: `(n, H, W)` uint8, sides a multiple of 16; 48 or more to train on.

    Raises:
        ValueError: if there are too few.
    """
    if len(train_images) < 2 * NUM_COMPONENTS or not len(validation_images):
        counts = f"{len(train_images)} training and {len(validation_images)} validation images"
        raise ValueError(f"{counts} are too few to learn their look; expected {2 * NUM_COMPONENTS} and 1 or more")
    described = _describe(train_images)
    mean = described.mean(axis=0)
    _, lengths, components = np.linalg.svd(described - mean, full_matrices=False)
    components = components[:NUM_COMPONENTS]
    left = described - mean - (described - mean) @ components.T @ components
    spreads = lengths[:NUM_COMPONENTS] / np.sqrt(len(described))
    unlimited = Domain(mean, components, spreads, float(np.sqrt(np.square(left).mean())), np.inf, np.inf)
    oddness = unlimited.measure(validation_images)
    limits = {
        "flagged_from": float(np.quantile(oddness, 1 - FLAGGED_SHARE)),
        "refused_from": float(REFUSAL_FACTOR * oddness.max()),
    }
    return Domain(**{**vars(unlimited), **limits})


def _describe(images: np.ndarray) -> np.ndarray:
    """Return `(n, 256)` float32, the cells' mean gray levels with mean 0 and spread 1 in each image."""
    n, height, width = images.shape
    cells = images.reshape(n, CELLS, height // CELLS, CELLS, width // CELLS).mean(axis=(2, 4), dtype=np.float32)
    flat = cells.reshape(n, -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / (flat.std(axis=1, keepdims=True) + 0.25)
