"""How the probability of pneumonia answers to what is no sickness: exposure, pose, place, markers, borders.

After the idea of testing with concepts (B. Kim et al., "Interpretability Beyond Feature Attribution", ICML 2018), by
changing the film itself instead of looking for a direction within the net.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import rotate

from pneumoscope.evaluation.intervals import estimate_mean
from pneumoscope.radiographs.markers import find_markers
from pneumoscope.results import Estimate
from pneumoscope.tasks.classify import predict_probabilities
from pneumoscope.tasks.explain.gradients import blur_images
from pneumoscope.tasks.explain.quality import shift_images
from pneumoscope.tasks.explain.scorer import choose_class

if TYPE_CHECKING:
    import keras

GAMMAS = (0.7, 1.4)
DEGREES = (-10, 10)
SHIFTS = (-6, 6)
BORDER_SHARE = 0.08


def probe_concepts(
    model: "keras.Model", images: np.ndarray, patients: np.ndarray, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return how far the probability of pneumonia moves with each change, on average over the images.

    Args:
        model: a classifier whose class 0 is normal.
        images: `(n, H, W)` uint8.
        patients: `(n,)` str, the unit that the 95 % intervals resample.
        seed: of the resampling.

    Returns:
        By change, say `gamma 0.7`, the mean of the probability after less that before, in [-1, 1], and by
        `changed decisions, gamma 0.7` the share of images whose decision, normal or pneumonia, turned. `hidden markers`
        is told only of the images that have some.
    """
    before = predict_probabilities(model, images)
    found = {}
    for name, changed in change_films(images).items():
        rows = (changed != images).any(axis=(1, 2)) if name == "hidden markers" else np.ones(len(images), bool)
        if not rows.any():
            continue
        after = predict_probabilities(model, changed[rows])
        moved = (before[rows, 0] - after[:, 0]).astype(np.float64)
        turned = (choose_class(after) == 0) != (choose_class(before[rows]) == 0)
        found[name] = estimate_mean(moved, patients[rows], seed=seed)
        found[f"changed decisions, {name}"] = estimate_mean(turned, patients[rows], seed=seed)
    return found


def change_films(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return by change the changed films, `(n, H, W)` uint8 each; see `probe_concepts`."""
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
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
