"""Metrics of classifiers and scores, each with a 95 % interval by bootstrap over patients.

    accuracy                       share of correct predictions
    balanced_accuracy              macro-averaged recall
    macro_f1                       macro-averaged F1
    precision_C, recall_C, f1_C    per class C; for two classes, recall_pneumonia is the sensitivity and
                                   recall_normal the specificity
    auroc, auprc                   of the second of two classes; for more classes, macro average one-vs-rest
    auroc_bacterial_vs_viral       on bacterial and viral images, score p(viral) / (p(bacterial) + p(viral))

A metric is NaN if its denominator is zero. A macro average is NaN if it is NaN for one class. AUROC and AUPRC are NaN
if only one class occurs. Values come from scikit-learn; the bootstrap applies the same definitions to weighted images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate, Evaluation
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.metrics.intervals import estimate, estimate_mean, require_same_shape

ROW_SUM_TOLERANCE = 1e-3

SUBTYPES_METRIC = "auroc_bacterial_vs_viral"

# Positives, `(n,)` bool, and scores, `(n,)` floats.
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
    """Evaluate a classifier. The predicted class is the most probable one.

    Args:
        labels: `(n,)` ints, index into `classes`.
        probabilities: `(n, classes)` floats in [0, 1]; every row sums to 1.
        classes: two or more class names, in the order of the columns of `probabilities`.
        split: name of the split, such as `test`.
        patients: `(n,)` str, the unit of the bootstrap.
        names: `(n,)` str, path of each image relative to the collection's root.
        seed: of the bootstrap.

    Raises:
        ValueError: if there are no images, or shapes or ranges differ from the above.
    """
    labels, probabilities = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float32)
    _check_probabilities(labels, probabilities, classes)
    require_same_shape(labels=labels, patients=patients)
    confusion = _weigh_confusion(labels, probabilities.argmax(axis=1), len(classes), np.ones((1, len(labels))))[0]
    return Evaluation(
        split=split,
        classes=tuple(classes),
        labels=labels,
        probabilities=probabilities,
        patients=np.asarray(patients, dtype=str),
        names=np.asarray(names, dtype=str),
        metrics=_estimate_metrics(labels, probabilities, classes, patients, seed),
        confusion=confusion.astype(np.int64),
    )


def _estimate_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], patients: ArrayLike, seed: int
) -> dict[str, Estimate]:
    decisions = probabilities.argmax(axis=1)
    rankings = _list_rankings(labels, probabilities, classes)
    subtypes = _rank_subtypes(labels, probabilities, classes)
    values = {**_score_decisions(labels, decisions, classes), **_score_rankings(rankings)}
    counts = {}
    for number, name in enumerate(classes):
        counts[f"precision_{name}"] = int((decisions == number).sum())
        counts[f"recall_{name}"] = int((labels == number).sum())
    if subtypes is not None:
        values[SUBTYPES_METRIC] = _score_rankings([subtypes[1]])["auroc"]
        counts[SUBTYPES_METRIC] = int(subtypes[0].sum())

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        metrics = {**_weigh_decisions(labels, decisions, classes, weights), **_weigh_rankings(rankings, weights)}
        if subtypes is not None:
            rows, ranking = subtypes
            metrics[SUBTYPES_METRIC] = _weigh_rankings([ranking], weights[:, rows])["auroc"]
        return metrics

    return estimate(compute, patients, values=values, counts=counts, seed=seed)


def evaluate_scores(
    labels: ArrayLike, scores: ArrayLike, thresholds: Mapping[str, float], *, patients: ArrayLike, seed: int = 0
) -> dict[str, Estimate]:
    """Evaluate a score of pneumonia against normal, without and with thresholds.

    An image is positive when `score >= threshold`.

    Args:
        labels: `(n,)` ints, 1 = pneumonia, 0 = normal.
        scores: `(n,)` floats; higher scores indicate pneumonia.
        thresholds: by name, in the unit of `scores`.
        patients: `(n,)` str, the unit of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `auroc` and `auprc`, and for each threshold NAME `accuracy_NAME`, `f1_NAME` (of pneumonia),
        `flagged_normal_NAME` (false positive rate) and `flagged_pneumonia_NAME` (sensitivity).

    Raises:
        ValueError: if there are no images, the shapes differ, or a score is not finite.
    """
    labels, scores = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    _check_labels(labels, 2)
    require_same_shape(labels=labels, patients=patients)
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

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        metrics = dict(_weigh_rankings(rankings, weights))
        for name, flags in flagged.items():
            metrics.update(_name_flagged(name, _weigh_decisions(labels, flags, BINARY_CLASSES, weights)))
        return metrics

    return estimate(compute, patients, values=values, counts=counts, seed=seed)


def estimate_binary_scores(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> dict[str, Estimate]:
    """Return `auroc` and `auprc` of a score; see `evaluate_scores`."""
    return evaluate_scores(labels, scores, {}, patients=patients, seed=seed)


def estimate_share(flags: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> Estimate:
    """Return the share of True among `(n,)` bools with its 95 % interval; see `estimate_mean`.

    Example:
        >>> print(estimate_share([True, False, True, False], ["a", "a", "b", "b"]))
        0.500 [0.500, 0.500]
    """
    return estimate_mean(np.asarray(flags, dtype=bool), patients, seed=seed)


def weigh_auroc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Return `(r,)` floats, the AUROC of `(n,)` scores for each row of `(r, n)` image weights; see `estimate`.

    The AUROC is NaN if a class has no weight.

    Example:
        >>> weigh_auroc([0, 1, 1], [0.2, 0.1, 0.9], np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 2.0]]))
        array([0.5, 1. ])
    """
    return _weigh_ranking(np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64), weights)[0]


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"labels are {labels.shape}, expected (n,) with one image or more")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, expected 0 to {num_classes - 1}; "
            "exclude images of unknown class"
        )


def _check_probabilities(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    _check_labels(labels, len(classes))
    expected = (len(labels), len(classes))
    if len(classes) < 2 or probabilities.shape != expected:
        raise ValueError(f"probabilities are {probabilities.shape}, expected {expected} for {len(classes)} classes")
    sums = probabilities.sum(axis=1)
    if not (probabilities >= 0).all() or not np.allclose(sums, 1, atol=ROW_SUM_TOLERANCE):
        raise ValueError(
            f"probabilities have a minimum of {probabilities.min()} and row sums from {sums.min()} to {sums.max()}, "
            "expected values of 0 or more and row sums of 1"
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
    # If both probabilities are 0, the score is neutral.
    share = np.divide(probabilities[rows, viral], either, out=np.full_like(either, 0.5), where=either > 0)
    return rows, (labels[rows] == viral, share)


def _name_flagged(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"accuracy_{name}": metrics["accuracy"],
        f"f1_{name}": metrics["f1_pneumonia"],
        f"flagged_normal_{name}": 1 - metrics["recall_normal"],
        f"flagged_pneumonia_{name}": metrics["recall_pneumonia"],
    }


def _name_by_class(
    classes: Sequence[str], accuracy: Any, precision: np.ndarray, recall: np.ndarray, f1: np.ndarray
) -> dict[str, Any]:
    """Return metrics by name, floats or `(r,)` arrays; the last axis of `precision`, `recall` and `f1` is the class."""
    metrics = {"accuracy": accuracy, "balanced_accuracy": recall.mean(axis=-1), "macro_f1": f1.mean(axis=-1)}
    for number, name in enumerate(classes):
        metrics[f"precision_{name}"] = precision[..., number]
        metrics[f"recall_{name}"] = recall[..., number]
        metrics[f"f1_{name}"] = f1[..., number]
    return metrics


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
    members = np.eye(num_classes**2)[labels * num_classes + decisions]
    return np.asarray(weights @ members).reshape(-1, num_classes, num_classes)


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
    """Return `(r,)` float64 areas under the ROC and the precision-recall curve, for each row of `(r, n)` weights."""
    order = np.argsort(-scores, kind="stable")
    if not order.size:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    # Images of equal score share one point of the curve.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ordered, positive = weights[:, order], positive[order]
    hits = np.cumsum(ordered * positive, axis=1)[:, last]
    alarms = np.cumsum(ordered * ~positive, axis=1)[:, last]
    with np.errstate(invalid="ignore"):
        recall, fallout = hits / hits[:, -1:], alarms / alarms[:, -1:]
        precision = np.nan_to_num(hits / (hits + alarms))
    steps = np.diff(recall, axis=1, prepend=0)
    auroc = (np.diff(fallout, axis=1, prepend=0) * (recall - steps / 2)).sum(axis=1)
    one_class = (hits[:, -1] == 0) | (alarms[:, -1] == 0)
    return auroc, np.where(one_class, np.nan, (steps * precision).sum(axis=1))
