"""Sensitivity of the prediction to confounders: exposure, rotation, position, markers and borders.

The idea follows concept activation vectors (B. Kim et al., "Interpretability Beyond Feature Attribution", ICML 2018);
here the image itself is perturbed instead of the embedding.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import rotate

from pneumoscope.classification.classifier import predict_probabilities
from pneumoscope.explain.gradients import blur_images
from pneumoscope.explain.quality import shift_images
from pneumoscope.explain.scorer import choose_class
from pneumoscope.io.results import Estimate
from pneumoscope.metrics.intervals import estimate_mean
from pneumoscope.phantoms.markers import find_markers

if TYPE_CHECKING:
    import keras

GAMMAS = (0.7, 1.4)
DEGREES = (-10, 10)
SHIFTS = (-6, 6)
BORDER_SHARE = 0.08


def probe_concepts(
    model: "keras.Model", images: np.ndarray, patients: np.ndarray, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return the mean change of the probability of pneumonia for each perturbation.

    Args:
        model: classifier with class 0 = normal.
        images: `(n, H, W)` uint8.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Returns:
        For each perturbation, such as `gamma 0.7`, the mean change of the probability in [-1, 1]; and as
        `changed decisions, gamma 0.7` the share of images with another decision. `hidden markers` is measured on images
        with markers.
    """
    before = predict_probabilities(model, images)
    metrics = {}
    for name, changed in perturb_images(images).items():
        rows = (changed != images).any(axis=(1, 2)) if name == "hidden markers" else np.ones(len(images), bool)
        if not rows.any():
            continue
        after = predict_probabilities(model, changed[rows])
        difference = (before[rows, 0] - after[:, 0]).astype(np.float64)
        turned = (choose_class(after) == 0) != (choose_class(before[rows]) == 0)
        metrics[name] = estimate_mean(difference, patients[rows], seed=seed)
        metrics[f"changed decisions, {name}"] = estimate_mean(turned, patients[rows], seed=seed)
    return metrics


def perturb_images(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the perturbed images by perturbation, `(n, H, W)` uint8 each; see `probe_concepts`."""
    scale = images.astype(np.float32) / 255
    changed = {f"gamma {gamma}": _to_bytes(255 * scale**gamma) for gamma in GAMMAS}
    for degrees in DEGREES:
        turned = rotate(images.astype(np.float32), degrees, axes=(1, 2), reshape=False, order=1, mode="nearest")
        changed[f"turned by {degrees} degrees"] = _to_bytes(turned)
    changed |= {f"moved by {columns} pixels": shift_images(images, 0, columns) for columns in SHIFTS}
    blurred = _to_bytes(blur_images(images))
    changed["hidden markers"] = np.where(find_markers(images), blurred, images)
    border = np.ones(images.shape, bool)
    rows, columns = (round(BORDER_SHARE * side) for side in images.shape[1:])
    border[:, rows:-rows, columns:-columns] = False
    changed["hidden border"] = np.where(border, blurred, images)
    return changed


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(values, 0, 255)), dtype=np.uint8)
