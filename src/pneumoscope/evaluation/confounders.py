"""Confounders: metrics of a classifier with parts of the images hidden.

The classifier predicts the same images with their borders, markers, lungs, or everything but the lungs hidden. Hidden
pixels take the mean gray level of their image. Exposure and the outline of the hidden region therefore stay visible. A
region that is equal in all images leaves no outline.

The classifier was not trained on such images. Lower metrics on lungs alone may be due to this shift. High metrics with
hidden lungs show that the classifier uses information from outside of the lungs.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_dilation

from pneumoscope.data.collection import name_series
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.evaluation.pixel_baselines import BORDER_SHARE, describe_pixels, fit_pixel_baseline
from pneumoscope.io.results import UNTOUCHED, Confounders, Metrics
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.classification import weigh_auroc
from pneumoscope.metrics.intervals import estimate, estimate_mean
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.markers import find_markers

LUNG_MARGIN = 0.03
LUNG_AREA_SHARE = 0.05
SERIES = ("NORMAL2-IM", "IM", "person", "NORMAL", "BACTERIA", "VIRUS")


def measure_confounders(
    predict: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    *,
    threshold: float,
    split: str = "test",
    seed: int = 0,
) -> Confounders:
    """Measure a classifier with parts of the images hidden, and pixel baselines without lungs.

    Args:
        predict: function from `(n, H, W)` uint8 to `(n, 3)` probabilities of normal, bacterial and viral.
        dataset: a split dataset. The pixel baselines are fitted on `train`; without `train` there are none.
        threshold: a case counts as pneumonia when `1 - probability of normal >= threshold`.
        split: split to measure on.
        seed: seed of the bootstrap over patients.

    Raises:
        CollectionError: if the split contains no image.
        ValueError: if `predict` does not return three probabilities per image.
    """
    part = dataset.split(split)
    if not len(part):
        raise CollectionError(f"the split {split!r} contains no image; expected one or more")
    masks = _choose_hidden(part.images)
    untouched = _check_shape(predict(part.images), len(part))
    predictions = {name: _check_shape(predict(hide(part.images, mask)), len(part)) for name, mask in masks.items()}
    features = describe_pixels(dataset) if len(dataset.rows("train")) else {}
    baselines = {name: fit_pixel_baseline(values, dataset, split=split) for name, values in features.items()}
    patients = part.patients
    return Confounders(
        split=split,
        threshold=threshold,
        metrics={
            name: _estimate_metrics(part, probabilities, threshold, seed=seed)
            for name, probabilities in {UNTOUCHED: untouched, **predictions}.items()
        },
        differences={
            name: _estimate_metrics(part, probabilities, threshold, less=untouched, seed=seed)
            for name, probabilities in predictions.items()
        },
        hidden={name: estimate_mean(mask.mean(axis=(1, 2)), patients, seed=seed) for name, mask in masks.items()},
        pixel_baselines={name: _estimate_metrics(part, *fitted, seed=seed) for name, fitted in baselines.items()},
        series=_measure_series(part, 1 - untouched[:, 0] >= threshold, patients, seed),
    )


def hide(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the images with masked pixels set to the mean gray level of their image.

    Args:
        images: `(n, H, W)` uint8.
        mask: `(n, H, W)` bool, True for pixels to hide.
    """
    gray = np.rint(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    return np.where(mask, gray, images)


def _choose_hidden(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks of the pixels to hide, `(n, H, W)` bool by name."""
    height, width = images.shape[1:]
    borders = np.ones(images.shape, bool)
    rows, columns = round(BORDER_SHARE * height), round(BORDER_SHARE * width)
    borders[:, rows : height - rows, columns : width - columns] = False
    # The lung masks are not exact. The margin hides or shows the lungs completely.
    margin = max(1, round(LUNG_MARGIN * min(height, width)))
    lungs = binary_dilation(find_lungs(images), np.ones((1, 3, 3)), iterations=margin)
    return {
        "borders_hidden": borders,
        "markers_hidden": find_markers(images),
        "lungs_only": ~lungs,
        "lungs_hidden": lungs,
        "lung_area_hidden": np.broadcast_to(lungs.mean(axis=0) >= LUNG_AREA_SHARE, lungs.shape),
    }


def _check_shape(probabilities: np.ndarray, num_images: int) -> np.ndarray:
    expected = (num_images, len(THREE_CLASSES))
    if np.shape(probabilities) != expected:
        raise ValueError(f"predict returned {np.shape(probabilities)}, expected {expected} probabilities")
    return np.asarray(probabilities, dtype=np.float64)


def _estimate_metrics(
    part: Dataset, probabilities: np.ndarray, threshold: float, *, less: np.ndarray | None = None, seed: int
) -> Metrics:
    """Return metrics with intervals, or with `less` the paired differences from its metrics."""
    positive, subtypes = part.labels(BINARY_CLASSES) == 1, part.labels(THREE_CLASSES)

    def weigh(weights: np.ndarray) -> dict[str, np.ndarray]:
        metrics = _weigh_metrics(probabilities, threshold, positive, subtypes, weights)
        if less is None:
            return metrics
        others = _weigh_metrics(less, threshold, positive, subtypes, weights)
        return {name: value - others[name] for name, value in metrics.items()}

    counts = {"three_class_accuracy": int((subtypes >= 0).sum())}
    return estimate(weigh, part.patients, counts=counts, seed=seed)


def _weigh_metrics(
    probabilities: np.ndarray, threshold: float, positive: np.ndarray, subtypes: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    scores = 1 - probabilities[:, 0]
    correct = (scores >= threshold) == positive
    metrics = {"auroc": weigh_auroc(positive, scores, weights), "accuracy": weights @ correct / weights.sum(axis=1)}
    labeled = subtypes >= 0
    if labeled.any() and probabilities.shape[1] == len(THREE_CLASSES):
        hits = (probabilities.argmax(axis=1) == subtypes)[labeled]
        with np.errstate(invalid="ignore"):
            metrics["three_class_accuracy"] = weights[:, labeled] @ hits / weights[:, labeled].sum(axis=1)
    return metrics


def _measure_series(part: Dataset, flagged: np.ndarray, patients: np.ndarray, seed: int) -> dict[str, Metrics]:
    """Return exposure, contrast, markers and predictions by series of file names; other names are omitted."""
    series = name_series(part.table["name"])
    measured = {
        "exposure": part.images.mean(axis=(1, 2)),
        "contrast": part.images.std(axis=(1, 2)),
        "markers": find_markers(part.images).any(axis=(1, 2)),
        "flagged": flagged,
    }
    return {
        name: {
            metric: estimate_mean(values[series == name], patients[series == name], seed=seed)
            for metric, values in measured.items()
        }
        for name in SERIES
        if (series == name).any()
    }
