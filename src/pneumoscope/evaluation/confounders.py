"""How much of a classifier's figure comes from where there are no lungs.

The same images are answered again with parts hidden: the frame, letters, all but the lungs, the lungs. A hidden part
takes the image's own mean gray level, so that exposure, and the outline of what was hidden, can still be seen; where
all images are hidden alike, no outline is left. A classifier was not trained on such images: that it does worse on
lungs alone may be their strangeness, but what it still tells with the lungs hidden it does not have from within them.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import binary_dilation

from pneumoscope.data.collection import name_series
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.evaluation.pixel_baselines import BORDER_SHARE, describe_pixels, fit_pixel_baseline
from pneumoscope.io.results import UNTOUCHED, Confounders, Estimate
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.classification import weigh_auroc
from pneumoscope.metrics.intervals import estimate, estimate_mean
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.markers import find_markers

Score = Callable[[np.ndarray], np.ndarray]

LUNG_MARGIN = 0.03
LUNG_AREA_SHARE = 0.05
SERIES = ("NORMAL2-IM", "IM", "person", "NORMAL", "BACTERIA", "VIRUS")


def measure_confounders(
    score: Score, dataset: Dataset, *, threshold: float, split: str = "test", seed: int = 0
) -> Confounders:
    """Measure what a classifier tells with parts of the images hidden, and what is told without any lung.

    Args:
        score: takes `(n, H, W)` uint8 and returns `(n, 3)` probabilities of normal, bacterial and viral.
        dataset: split into `train`, which the regressions are fitted on, and others; without it there are none.
        threshold: a case counts as pneumonia when its probability, bacterial and viral together, is not below it.
        split: which images to measure on.
        seed: of the resampling of patients.

    Raises:
        CollectionError: if the split holds no image.
        ValueError: if `score` does not answer with three probabilities an image.
    """
    part = dataset.split(split)
    if not len(part):
        raise CollectionError(f"the split {split!r} holds no image; expected some to measure on")
    hidden = _choose_hidden(part.images)
    shown = {UNTOUCHED: part.images} | {name: hide(part.images, mask) for name, mask in hidden.items()}
    answers = {name: (_ask(score, images), threshold) for name, images in shown.items()}
    told = _estimate_figures(answers, part, seed=seed)
    described = describe_pixels(dataset) if len(dataset.rows("train")) else {}
    trivial = {name: fit_pixel_baseline(features, dataset, split=split) for name, features in described.items()}
    patients = part.table["patient"].to_numpy().astype(str)
    return Confounders(
        split=split,
        threshold=threshold,
        figures={name: told[name] for name in answers},
        differences={name: told[f"{name}-{UNTOUCHED}"] for name in hidden},
        hidden={name: estimate_mean(mask.mean(axis=(1, 2)), patients, seed=seed) for name, mask in hidden.items()},
        trivial={name: _estimate_figures({name: answer}, part, seed=seed)[name] for name, answer in trivial.items()},
        series=_measure_series(part, 1 - answers[UNTOUCHED][0][:, 0] >= threshold, seed=seed),
    )


def hide(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the images with what a mask names filled with each image's own mean gray level.

    Args:
        images: `(n, H, W)` uint8.
        mask: `(n, H, W)` bool, True where to hide.
    """
    gray = np.rint(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    return np.where(mask, gray, images)


def _choose_hidden(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what to hide of each image, `(n, H, W)` bool by name."""
    height, width = images.shape[1:]
    borders = np.ones(images.shape, bool)
    rows, columns = round(BORDER_SHARE * height), round(BORDER_SHARE * width)
    borders[:, rows : height - rows, columns : width - columns] = False
    # Lungs are found a little off: the margin makes sure that none is left to see, or that all of it is.
    reach = max(1, round(LUNG_MARGIN * min(height, width)))
    lungs = binary_dilation(find_lungs(images), np.ones((1, 3, 3)), iterations=reach)
    return {
        "borders_hidden": borders,
        "markers_hidden": find_markers(images),
        "lungs_only": ~lungs,
        "lungs_hidden": lungs,
        "lung_area_hidden": np.broadcast_to(lungs.mean(axis=0) >= LUNG_AREA_SHARE, lungs.shape),
    }


def _ask(score: Score, images: np.ndarray) -> np.ndarray:
    answers = np.asarray(score(images), dtype=np.float64)
    if answers.shape != (len(images), len(THREE_CLASSES)):
        raise ValueError(f"score gave {answers.shape}, expected {(len(images), len(THREE_CLASSES))} probabilities")
    return answers


def _estimate_figures(
    answers: Mapping[str, tuple[np.ndarray, float]], part: Dataset, *, seed: int
) -> dict[str, dict[str, Estimate]]:
    """Return figures by name of the answer, and their differences to the first one as `NAME-FIRST`."""
    sick = part.labels(BINARY_CLASSES) == 1
    kinds = part.labels(THREE_CLASSES)
    first = next(iter(answers))

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        for name, (probabilities, threshold) in answers.items():
            for metric, value in _weigh_figures(probabilities, threshold, sick, kinds, weights).items():
                found[f"{name}/{metric}"] = value
                if name != first:
                    found[f"{name}-{first}/{metric}"] = value - found[f"{first}/{metric}"]
        return found

    told: dict[str, dict[str, Estimate]] = {}
    counts = {"three_class_accuracy": int((kinds >= 0).sum())}
    patients = part.table["patient"].to_numpy().astype(str)
    for key, found in estimate(figures, patients, seed=seed).items():
        name, metric = key.split("/")
        n = counts.get(metric, found.n)
        told.setdefault(name, {})[metric] = Estimate(found.value, found.low, found.high, n)
    return told


def _weigh_figures(
    probabilities: np.ndarray, threshold: float, sick: np.ndarray, kinds: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    scores = 1 - probabilities[:, 0]
    right = (scores >= threshold) == sick
    figures = {"auroc": weigh_auroc(sick, scores, weights), "accuracy": weights @ right / weights.sum(axis=1)}
    known = kinds >= 0
    if known.any() and probabilities.shape[1] == len(THREE_CLASSES):
        hits = (probabilities.argmax(axis=1) == kinds)[known]
        with np.errstate(invalid="ignore"):
            figures["three_class_accuracy"] = weights[:, known] @ hits / weights[:, known].sum(axis=1)
    return figures


def _measure_series(part: Dataset, flagged: np.ndarray, *, seed: int) -> dict[str, dict[str, Estimate]]:
    """Return what differs between the ways the data set names its files; images of other names are left out."""
    series = name_series(part.table["name"])
    patients = part.table["patient"].to_numpy().astype(str)
    measured = {
        "exposure": part.images.mean(axis=(1, 2)),
        "contrast": part.images.std(axis=(1, 2)),
        "markers": find_markers(part.images).any(axis=(1, 2)),
        "flagged": flagged,
    }
    return {
        name: {
            metric: estimate_mean(values[series == name].astype(np.float64), patients[series == name], seed=seed)
            for metric, values in measured.items()
        }
        for name in SERIES
        if (series == name).any()
    }
