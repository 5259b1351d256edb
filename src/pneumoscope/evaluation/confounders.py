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

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.evaluation.pixel_baselines import BORDER_SHARE, describe_pixels, fit_pixel_baseline
from pneumoscope.evaluation.predictor import check_probabilities
from pneumoscope.io.results import UNTOUCHED, Confounders, Metrics
from pneumoscope.metrics.intervals import estimate, estimate_mean
from pneumoscope.metrics.weighted import weigh_rankings
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.markers import find_markers

LUNG_MARGIN = 0.03
LUNG_AREA_SHARE = 0.05


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
        predict: function from `(n, H, W)` uint8 to `(n, classes)` probabilities of the dataset's classes.
        dataset: a split dataset with a negative class. The pixel baselines are fitted on `train`; without `train`
            there are none.
        threshold: a case counts as positive when `1 - probability of the negative class >= threshold`.
        split: split to measure on.
        seed: seed of the bootstrap over patients.

    Raises:
        CollectionError: if the split contains no image.
        LabelError: if the dataset has no negative class.
        PneumoscopeError: if `predict` does not return a probability per image and class.
    """
    label_set, part = dataset.label_set, dataset.split(split)
    if not len(part):
        raise CollectionError(f"the split {split!r} contains no image; expected one or more")
    masks = _choose_hidden(part.images)
    untouched = check_probabilities(predict(part.images), label_set, len(part))
    predictions = {
        name: check_probabilities(predict(hide(part.images, mask)), label_set, len(part))
        for name, mask in masks.items()
    }
    features = describe_pixels(dataset) if len(dataset.rows("train")) else {}
    baselines = {name: fit_pixel_baseline(values, dataset, split=split) for name, values in features.items()}
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
        hidden={name: estimate_mean(mask.mean(axis=(1, 2)), part.patients, seed=seed) for name, mask in masks.items()},
        pixel_baselines={name: _estimate_metrics(part, *fitted, seed=seed) for name, fitted in baselines.items()},
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


def _estimate_metrics(
    part: Dataset, probabilities: np.ndarray, threshold: float, *, less: np.ndarray | None = None, seed: int
) -> Metrics:
    """Return metrics with intervals, or with `less` the paired differences from its metrics."""
    label_set = part.label_set
    binary, labels = label_set.binary(), part.labels()
    positive, known = part.labels(binary) == 1, labels >= 0
    has_classes = probabilities.shape[1] == len(label_set.classes) > 2 and (known & positive).any()

    def weigh(weights: np.ndarray, probabilities: np.ndarray = probabilities) -> dict[str, np.ndarray]:
        columns = label_set if probabilities.shape[1] == len(label_set.classes) else binary
        scores = columns.score_positive(probabilities)
        correct = (scores >= threshold) == positive
        metrics = {"auroc": weigh_rankings([(positive, scores)], weights)["auroc"]}
        metrics["accuracy"] = weights @ correct / weights.sum(axis=1)
        if has_classes:
            hits = (probabilities.argmax(axis=1) == labels)[known]
            with np.errstate(invalid="ignore"):
                metrics["classes_accuracy"] = weights[:, known] @ hits / weights[:, known].sum(axis=1)
        return metrics

    def compare(weights: np.ndarray) -> dict[str, np.ndarray]:
        others = {} if less is None else weigh(weights, less)
        return {name: value - others.get(name, 0) for name, value in weigh(weights).items()}

    return estimate(compare, part.patients, counts={"classes_accuracy": int(known.sum())}, seed=seed)
