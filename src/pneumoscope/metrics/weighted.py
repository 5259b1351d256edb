"""Metrics of decisions and rankings: `score_*` from scikit-learn, `weigh_*` the same on weighted images.

A metric is NaN if its denominator is zero. AUROC and AUPRC are NaN if only one class occurs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Positives, `(n,)` bool, and scores, `(n,)` floats.
Ranking = tuple[np.ndarray, np.ndarray]


def score_decisions(labels: np.ndarray, decisions: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return `accuracy`, `balanced_accuracy`, `macro_f1` and `precision_C`, `recall_C` and `f1_C` of each class.

    Args:
        labels, decisions: `(n,)` ints, index into `classes`.
        classes: class names.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, decisions, labels=range(len(classes)), zero_division=np.nan
    )
    return _name_by_class(classes, accuracy_score(labels, decisions), precision, recall, f1)


def score_rankings(rankings: Sequence[Ranking]) -> dict[str, float]:
    """Return `auroc` and `auprc`, averaged over rankings; NaN if one of them is."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not all(positive.any() and not positive.all() for positive, _ in rankings):
        return {"auroc": np.nan, "auprc": np.nan}
    return {
        "auroc": float(np.mean([roc_auc_score(positive, scores) for positive, scores in rankings])),
        "auprc": float(np.mean([average_precision_score(positive, scores) for positive, scores in rankings])),
    }


def weigh_confusion(labels: np.ndarray, decisions: np.ndarray, num_classes: int, weights: np.ndarray) -> np.ndarray:
    """Return `(r, classes, classes)` float64 confusion matrices, one per row of `(r, n)` weights."""
    from scipy.sparse import csr_array

    cells = (np.ones(len(labels)), (np.arange(len(labels)), labels * num_classes + decisions))
    members = csr_array(cells, shape=(len(labels), num_classes**2))
    return np.asarray(weights @ members).reshape(-1, num_classes, num_classes)


def weigh_decisions(
    labels: np.ndarray, decisions: np.ndarray, classes: Sequence[str], weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the metrics of `score_decisions` as `(r,)` floats, for each row of `(r, n)` image weights."""
    confusion = weigh_confusion(labels, decisions, len(classes), weights)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    truth, decided = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        accuracy = hits.sum(axis=1) / weights.sum(axis=1)
        return _name_by_class(classes, accuracy, hits / decided, hits / truth, 2 * hits / (truth + decided))


def weigh_rankings(rankings: Sequence[Ranking], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics of `score_rankings` as `(r,)` floats, for each row of `(r, n)` image weights."""
    areas = np.mean([_weigh_ranking(positive, scores, weights) for positive, scores in rankings], axis=0)
    return {"auroc": areas[0], "auprc": areas[1]}


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
