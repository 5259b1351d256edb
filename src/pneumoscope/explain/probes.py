"""Sensitivity of the prediction to confounders: exposure, rotation, position, markers and borders.

The idea follows concept activation vectors (B. Kim et al., "Interpretability Beyond Feature Attribution", ICML 2018);
here the image itself is perturbed instead of the embedding.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import rotate

from pneumoscope.explain.gradients import blur_images
from pneumoscope.explain.quality import shift_images
from pneumoscope.explain.scorer import choose_class, score_findings
from pneumoscope.io.results import Estimate
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.intervals import estimate_mean
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.phantoms.markers import find_markers

if TYPE_CHECKING:
    import keras

GAMMAS = (0.7, 1.4)
DEGREES = (-10, 10)
SHIFTS = (-6, 6)
BORDER_SHARE = 0.08


def probe_concepts(
    model: "keras.Model", images: np.ndarray, patients: np.ndarray, *, label_set: LabelSet, seed: int = 0
) -> dict[str, Estimate]:
    """Return the mean change of the probability of a finding (`score_findings`) for each perturbation.

    Without a negative class, it is the probability of the class predicted before the perturbation.

    Args:
        model: classifier of `label_set`.
        images: `(n, H, W)` uint8.
        patients: `(n,)` str, the unit of the bootstrap.
        label_set: the classes.
        seed: of the bootstrap.

    Returns:
        For each perturbation, such as `gamma 0.7`, the mean change of the probability in [-1, 1]; and as
        `changed decisions, gamma 0.7` the share of images with another decision: finding or none, or without a negative
        class another class. `hidden markers` is measured on images with markers.
    """
    before = predict_probabilities(model, images, label_set)
    decided = choose_class(before, label_set)
    metrics = {}
    for name, changed in perturb_images(images).items():
        rows = (changed != images).any(axis=(1, 2)) if name == "hidden markers" else np.ones(len(images), bool)
        if not rows.any():
            continue
        pair = before[rows], predict_probabilities(model, changed[rows], label_set)
        if label_set.negative or label_set.multi_label:
            scores = [score_findings(probabilities, label_set) for probabilities in pair]
            turned = (scores[0] >= 0.5) != (scores[1] >= 0.5)
        else:
            scores = [probabilities[np.arange(rows.sum()), decided[rows]] for probabilities in pair]
            turned = choose_class(pair[1], label_set) != decided[rows]
        difference = scores[1] - scores[0]
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
