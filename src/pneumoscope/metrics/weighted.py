"""Metrics of decisions and rankings on weighted images, with the definitions of scikit-learn.

A metric is NaN if its denominator is zero. AUROC and AUPRC are NaN if only one class occurs.
"""

from collections.abc import Sequence

import numpy as np

# Positives, `(n,)` bool, and scores, `(n,)` floats.
Ranking = tuple[np.ndarray, np.ndarray]


def weigh_confusion(labels: np.ndarray, decisions: np.ndarray, num_classes: int, weights: np.ndarray) -> np.ndarray:
    """Return `(r, classes, classes)` float64 confusion matrices, one per row of `(r, n)` weights."""
    from scipy.sparse import csr_array

    cells = (np.ones(len(labels)), (np.arange(len(labels)), labels * num_classes + decisions))
    members = csr_array(cells, shape=(len(labels), num_classes**2))
    return np.asarray(weights @ members).reshape(-1, num_classes, num_classes)


def weigh_decisions(
    labels: np.ndarray, decisions: np.ndarray, classes: Sequence[str], weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Return `accuracy`, `balanced_accuracy`, `macro_f1` and `precision_C`, `recall_C` and `f1_C` of each class.

    Args:
        labels, decisions: `(n,)` ints, index into `classes`.
        classes: class names.
        weights: `(r, n)` floats, weights of the images.

    Returns:
        `(r,)` floats by name, one value per row of weights.
    """
    confusion = weigh_confusion(labels, decisions, len(classes), weights)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    truth, decided = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        by_class = {"precision": hits / decided, "recall": hits / truth, "f1": 2 * hits / (truth + decided)}
        metrics = {"accuracy": hits.sum(axis=1) / weights.sum(axis=1)}
    metrics |= {"balanced_accuracy": by_class["recall"].mean(axis=1), "macro_f1": by_class["f1"].mean(axis=1)}
    for number, name in enumerate(classes):
        metrics |= {f"{kind}_{name}": values[:, number] for kind, values in by_class.items()}
    return metrics


def weigh_rankings(rankings: Sequence[Ranking], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return `auroc` and `auprc`, averaged over rankings, as `(r,)` floats for each row of `(r, n)` image weights."""
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
