"""How well labels and scores are told, each figure with a 95 % interval that resamples patients.

    accuracy                       share of images labelled rightly
    balanced_accuracy              mean of the classes' recalls
    macro_f1                       mean of the classes' F1
    precision_C, recall_C, f1_C    for each class C; for two classes recall_pneumonia is the sensitivity and
                                   recall_normal the specificity
    auroc, auprc                   of the last of two classes; for more, the mean of each class against the rest
    auroc_bacterial_vs_viral       among images that are one of both, by the share p(viral) / (p(bacterial) + p(viral))

A figure is NaN where its denominator is zero, a mean over classes where one of them is, and a ranking where
only one class is there. Values come from scikit-learn; the resamples use the same definitions on weights.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate, Evaluation
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.metrics.intervals import estimate, estimate_mean

ROW_SUM_TOLERANCE = 1e-3

Ranking = tuple[np.ndarray, np.ndarray]


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    classes: Sequence[str],
    split: str,
    patients: ArrayLike,
    names: ArrayLike,
    seed: int = 0,
) -> Evaluation:
    """Return how a classifier did; each image is given its most probable class.

    Args:
        labels: `(n,)` ints, index into `classes`.
        probabilities: `(n, classes)` floats in [0, 1]; every row sums to 1.
        classes: two or more class names, in the order of the columns of `probabilities`.
        split: name of the split, such as `test`.
        patients: `(n,)` str, the unit that the intervals resample.
        names: `(n,)` str, path of each image below the collection's root.
        seed: of the resampling.

    Raises:
        ValueError: if there is no image, or shapes or ranges are not as above.
    """
    labels = np.asarray(labels, dtype=np.int64)
    probabilities = np.asarray(probabilities, dtype=np.float32)
    _check_probabilities(labels, probabilities, classes)
    _check_patients(patients, len(labels))
    decisions = probabilities.argmax(axis=1)
    rankings = _list_rankings(labels, probabilities, classes)
    subtypes = _rank_subtypes(labels, probabilities, classes)

    values = {**_score_decisions(labels, decisions, classes), **_score_rankings(rankings)}
    counts = _count_images(labels, decisions, classes)
    if subtypes is not None:
        values["auroc_bacterial_vs_viral"] = _score_rankings([subtypes[1]])["auroc"]
        counts["auroc_bacterial_vs_viral"] = int(subtypes[0].sum())

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = {**_weigh_decisions(labels, decisions, classes, weights), **_weigh_rankings(rankings, weights)}
        if subtypes is not None:
            rows, ranking = subtypes
            found["auroc_bacterial_vs_viral"] = _weigh_rankings([ranking], weights[:, rows])["auroc"]
        return found

    return Evaluation(
        split=split,
        classes=tuple(classes),
        labels=labels,
        probabilities=probabilities,
        patients=np.asarray(patients, dtype=str),
        names=np.asarray(names, dtype=str),
        metrics=estimate(figures, patients, values=values, counts=counts, seed=seed),
        confusion=_weigh_confusion(labels, decisions, len(classes), np.ones((1, len(labels))))[0].astype(np.int64),
    )


def evaluate_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    thresholds: Mapping[str, float],
    *,
    patients: ArrayLike,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return how well a score tells pneumonias from normals, as a ranking and at thresholds.

    An image is flagged when `score >= threshold`.

    Args:
        labels: `(n,)` ints, 1 = pneumonia, 0 = normal.
        scores: `(n,)` floats, higher = more like a pneumonia.
        thresholds: by name, in the unit of `scores`.
        patients: `(n,)` str, the unit that the intervals resample.
        seed: of the resampling.

    Returns:
        `auroc` and `auprc`, and for each threshold NAME `accuracy_NAME`, `f1_NAME` (of pneumonia),
        `flagged_normal_NAME` and `flagged_pneumonia_NAME` (shares).

    Raises:
        ValueError: if there is no image, the shapes differ, or a score is not finite.
    """
    labels = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(scores, dtype=np.float64)
    _check_labels(labels, 2)
    _check_patients(patients, len(labels))
    if scores.shape != labels.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores are {scores.shape}, expected {labels.shape} and all finite")
    flagged = {name: (scores >= threshold).astype(np.int64) for name, threshold in thresholds.items()}
    rankings = [(labels == 1, scores)]
    values = dict(_score_rankings(rankings))
    counts = {}
    for name, flags in flagged.items():
        values.update(_name_flagged(name, _score_decisions(labels, flags, BINARY_CLASSES)))
        counts[f"flagged_normal_{name}"] = int((labels == 0).sum())
        counts[f"flagged_pneumonia_{name}"] = int((labels == 1).sum())

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(_weigh_rankings(rankings, weights))
        for name, flags in flagged.items():
            found.update(_name_flagged(name, _weigh_decisions(labels, flags, BINARY_CLASSES, weights)))
        return found

    return estimate(figures, patients, values=values, counts=counts, seed=seed)


def estimate_binary_scores(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return `auroc` and `auprc` of a score, without a threshold; see `evaluate_scores`."""
    return evaluate_scores(labels, scores, {}, patients=patients, seed=seed)


def estimate_share(flags: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> Estimate:
    """Return the share of images that are flagged, with its 95 % interval.

    Args:
        flags: `(n,)` bool.
        patients: `(n,)` str, the unit that the interval resamples.
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or there is no image.

    Example:
        >>> print(estimate_share([True, False, True, False], ["a", "a", "b", "b"]))
        0.500 [0.500, 0.500]
    """
    return estimate_mean(np.asarray(flags, dtype=bool), patients, seed=seed)


def weigh_auroc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC of a score under each weighting of the images, as `estimate` asks of its figures.

    Args:
        labels: `(n,)` bool or ints, 1 = pneumonia.
        scores: `(n,)` floats, higher = more like a pneumonia.
        weights: `(r, n)` floats, one row a resample.

    Returns:
        `(r,)` floats; NaN where a class has no weight.

    Example:
        >>> weigh_auroc([0, 1, 1], [0.2, 0.1, 0.9], np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 2.0]]))
        array([0.5, 1. ])
    """
    return _weigh_ranking(np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64), weights)[0]


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"labels are {labels.shape}, expected (n,) with one image or more")
    if labels.min() < 0 or labels.max() >= num_classes:
        found = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"labels run from {found}, expected 0 to {num_classes - 1}; leave out images of unknown class")


def _check_patients(patients: ArrayLike, num_images: int) -> None:
    if np.shape(patients) != (num_images,):
        raise ValueError(f"patients are {np.shape(patients)}, expected {(num_images,)}: one an image")


def _check_probabilities(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    _check_labels(labels, len(classes))
    expected = (len(labels), len(classes))
    if len(classes) < 2 or probabilities.shape != expected:
        raise ValueError(f"probabilities are {probabilities.shape}, expected {expected} for {len(classes)} classes")
    sums = probabilities.sum(axis=1)
    if not (probabilities >= 0).all() or not np.allclose(sums, 1, atol=ROW_SUM_TOLERANCE):
        raise ValueError(
            f"probabilities run from {probabilities.min()} and their rows sum to {sums.min()} up to {sums.max()}, "
            "expected no number below 0 and rows that sum to 1"
        )


def _list_rankings(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> list[Ranking]:
    ranked = [1] if len(classes) == 2 else range(len(classes))
    return [(labels == number, probabilities[:, number]) for number in ranked]


def _rank_subtypes(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, Ranking] | None:
    if not {"bacterial", "viral"} <= set(classes):
        return None
    bacterial, viral = (list(classes).index(name) for name in ("bacterial", "viral"))
    rows = (labels == bacterial) | (labels == viral)
    either = probabilities[rows, bacterial] + probabilities[rows, viral]
    # Where a net is so sure of a normal that both are 0, it does not lean to either of the two.
    share = np.divide(probabilities[rows, viral], either, out=np.full_like(either, 0.5), where=either > 0)
    return rows, (labels[rows] == viral, share)


def _count_images(labels: np.ndarray, decisions: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    counts = {}
    for number, name in enumerate(classes):
        counts[f"precision_{name}"] = int((decisions == number).sum())
        counts[f"recall_{name}"] = int((labels == number).sum())
    return counts


def _name_flagged(name: str, figures: Mapping) -> dict:
    return {
        f"accuracy_{name}": figures["accuracy"],
        f"f1_{name}": figures["f1_pneumonia"],
        f"flagged_normal_{name}": 1 - figures["recall_normal"],
        f"flagged_pneumonia_{name}": figures["recall_pneumonia"],
    }


def _name_by_class(
    classes: Sequence[str], accuracy: ArrayLike, precision: np.ndarray, recall: np.ndarray, f1: np.ndarray
) -> dict:
    """Name figures; the last axis of the latter three is the class."""
    figures = {"accuracy": accuracy, "balanced_accuracy": recall.mean(axis=-1), "macro_f1": f1.mean(axis=-1)}
    for number, name in enumerate(classes):
        figures[f"precision_{name}"] = precision[..., number]
        figures[f"recall_{name}"] = recall[..., number]
        figures[f"f1_{name}"] = f1[..., number]
    return figures


def _score_decisions(labels: np.ndarray, decisions: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, decisions, labels=range(len(classes)), zero_division=np.nan
    )
    return _name_by_class(classes, accuracy_score(labels, decisions), precision, recall, f1)


def _score_rankings(rankings: Sequence[Ranking]) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not all(positive.any() and not positive.all() for positive, _ in rankings):
        return {"auroc": np.nan, "auprc": np.nan}
    return {
        "auroc": float(np.mean([roc_auc_score(positive, scores) for positive, scores in rankings])),
        "auprc": float(np.mean([average_precision_score(positive, scores) for positive, scores in rankings])),
    }


def _weigh_confusion(labels: np.ndarray, decisions: np.ndarray, num_classes: int, weights: np.ndarray) -> np.ndarray:
    cells = np.eye(num_classes**2)[labels * num_classes + decisions]
    return (weights @ cells).reshape(-1, num_classes, num_classes)


def _weigh_decisions(
    labels: np.ndarray, decisions: np.ndarray, classes: Sequence[str], weights: np.ndarray
) -> dict[str, np.ndarray]:
    confusion = _weigh_confusion(labels, decisions, len(classes), weights)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    truth, decided = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        accuracy = hits.sum(axis=1) / weights.sum(axis=1)
        return _name_by_class(classes, accuracy, hits / decided, hits / truth, 2 * hits / (truth + decided))


def _weigh_rankings(rankings: Sequence[Ranking], weights: np.ndarray) -> dict[str, np.ndarray]:
    areas = np.mean([_weigh_ranking(positive, scores, weights) for positive, scores in rankings], axis=0)
    return {"auroc": areas[0], "auprc": areas[1]}


def _weigh_ranking(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `(r,)` float64 areas under the ROC and the precision-recall curve, for each row of weights.

    Args:
        positive: `(n,)` bool.
        scores: `(n,)` floats, higher = more like a positive.
        weights: `(r, n)` float64, not below 0.
    """
    order = np.argsort(-scores, kind="stable")
    if not order.size:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    # Images of equal score pass the threshold together, so only the last of them is a point of the curve.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ordered, found = weights[:, order], positive[order]
    hits = np.cumsum(ordered * found, axis=1)[:, last]
    alarms = np.cumsum(ordered * ~found, axis=1)[:, last]
    with np.errstate(invalid="ignore"):
        recall, fallout = hits / hits[:, -1:], alarms / alarms[:, -1:]
        precision = np.nan_to_num(hits / (hits + alarms))
    steps = np.diff(recall, axis=1, prepend=0)
    auroc = (np.diff(fallout, axis=1, prepend=0) * (recall - steps / 2)).sum(axis=1)
    one_class = (hits[:, -1] == 0) | (alarms[:, -1] == 0)
    return auroc, np.where(one_class, np.nan, (steps * precision).sum(axis=1))
