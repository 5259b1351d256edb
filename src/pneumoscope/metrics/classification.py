"""Metrics of classifiers and scores, each with a 95 % interval by bootstrap over patients.

Single-label:

    accuracy                       share of correct predictions
    balanced_accuracy              macro-averaged recall
    macro_f1                       macro-averaged F1
    precision_C, recall_C, f1_C    per class C
    auroc, auprc                   of the positive of two classes, or the second without a negative class; for more
                                   classes, macro average one-vs-rest
    auroc_A_vs_B                   for a group of two classes, on images of A and B, score p(B) / (p(A) + p(B))

A macro average is NaN if it is NaN for one class.

Multi-label, where unknown labels are ignored:

    auroc_C, auprc_C, f1_C         per finding C; NaN without images both with and without the finding
    sensitivity_C, specificity_C, precision_C
    auroc, auprc, macro_f1         averages over the findings with a defined value
    subset_accuracy                share of images whose known labels are all predicted correctly

Definitions are those of scikit-learn; the bootstrap applies them to weighted images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.io.results import Estimate, Evaluation
from pneumoscope.labels import UNKNOWN, LabelSet
from pneumoscope.metrics.intervals import estimate, estimate_mean, require_same_shape
from pneumoscope.metrics.weighted import Ranking, weigh_confusion, weigh_decisions, weigh_rankings
from pneumoscope.progress import log

ROW_SUM_TOLERANCE = 1e-3

# Averages of multi-label metrics, with the prefix of the averaged metric.
AVERAGES = {"auroc": "auroc", "auprc": "auprc", "macro_f1": "f1"}

_ABSENT_PRESENT = ("absent", "present")


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    label_set: LabelSet,
    split: str,
    patients: ArrayLike,
    names: ArrayLike,
    seed: int = 0,
    thresholds: Mapping[str, float] | None = None,
    warn: bool = True,
) -> Evaluation:
    """Evaluate a classifier.

    The predicted class is the most probable one. In a multi-label set, a finding is predicted when
    `probability >= threshold`.

    Args:
        labels: `(n,)` ints, index of the class. Multi-label: `(n, classes)` ints, 1 = present, 0 = absent, -1 =
            unknown.
        probabilities: `(n, classes)` floats in [0, 1]; every row of a single-label set sums to 1.
        label_set: the classes, in the order of the columns of `probabilities`.
        split: name of the split, such as `test`.
        patients: `(n,)` str, the unit of the bootstrap.
        names: `(n,)` str, path of each image relative to the collection's root.
        seed: of the bootstrap.
        thresholds: of a multi-label set by finding; 0.5 where none is given.
        warn: whether to log findings that are not in the averages, because all images or none have them.

    Raises:
        ValueError: if there are no images, or shapes or ranges differ from the above.
    """
    labels, probabilities = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float32)
    _check_probabilities(labels, probabilities, label_set)
    require_same_shape(labels=labels[:, 0] if labels.ndim == 2 else labels, patients=patients)
    if label_set.multi_label:
        limits = np.array([(thresholds or {}).get(name, 0.5) for name in label_set.classes], dtype=np.float32)
        decisions = (probabilities >= limits).astype(np.int64)
        metrics, confusion = _measure_findings(labels, probabilities, decisions, label_set, patients, seed)
        if warn:
            _warn_of_undefined(metrics, label_set, split)
    else:
        metrics, confusion = _measure_classes(labels, probabilities, label_set, patients, seed)
    return Evaluation(
        split=split,
        label_set=label_set,
        labels=labels,
        probabilities=probabilities,
        patients=np.asarray(patients, dtype=str),
        names=np.asarray(names, dtype=str),
        metrics=metrics,
        confusion=confusion.astype(np.int64),
    )


def evaluate_scores(
    labels: ArrayLike, scores: ArrayLike, thresholds: Mapping[str, float], *, patients: ArrayLike, seed: int = 0
) -> dict[str, Estimate]:
    """Evaluate a score of the positive class, without and with thresholds.

    An image is positive when `score >= threshold`.

    Args:
        labels: `(n,)` ints, 1 = positive, 0 = negative.
        scores: `(n,)` floats; higher scores indicate the positive class.
        thresholds: by name, in the unit of `scores`.
        patients, seed: of the bootstrap, see `estimate`.

    Returns:
        `auroc` and `auprc`, and for each threshold NAME `accuracy_NAME`, `f1_NAME` (of the positive class),
        `false_positive_rate_NAME` and `sensitivity_NAME`.

    Raises:
        ValueError: if there are no images, the shapes differ, or a score is not finite.
    """
    labels, scores = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    _check_labels(labels, 2)
    require_same_shape(labels=labels, patients=patients)
    if scores.shape != labels.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores are {scores.shape}, expected {labels.shape} and all finite")
    flagged = {name: (scores >= threshold).astype(np.int64) for name, threshold in thresholds.items()}
    counts = {f"false_positive_rate_{name}": int((labels == 0).sum()) for name in thresholds}
    counts |= {f"sensitivity_{name}": int((labels == 1).sum()) for name in thresholds}

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        metrics = weigh_rankings([(labels == 1, scores)], weights)
        for name, flags in flagged.items():
            decided = weigh_decisions(labels, flags, _ABSENT_PRESENT, weights)
            metrics[f"accuracy_{name}"] = decided["accuracy"]
            metrics[f"f1_{name}"] = decided["f1_present"]
            metrics[f"false_positive_rate_{name}"] = 1 - decided["recall_absent"]
            metrics[f"sensitivity_{name}"] = decided["recall_present"]
        return metrics

    return estimate(compute, patients, counts=counts, seed=seed)


def estimate_share(flags: ArrayLike, patients: ArrayLike, *, seed: int = 0) -> Estimate:
    """Return the share of True among `(n,)` bools with its 95 % interval; see `estimate_mean`.

    Example:
        >>> print(estimate_share([True, False, True, False], ["a", "a", "b", "b"]))
        0.500 [0.500, 0.500]
    """
    return estimate_mean(np.asarray(flags, dtype=bool), patients, seed=seed)


def list_pairs(label_set: LabelSet) -> dict[str, tuple[str, str]]:
    """Return the groups of two classes by the name of their metric.

    Example:
        >>> list_pairs(LabelSet(("well", "flu", "cold"), groups={"ill": ("flu", "cold")}))
        {'auroc_flu_vs_cold': ('flu', 'cold')}
    """
    pairs = (group for group in label_set.groups.values() if len(group) == 2)
    return {f"auroc_{first}_vs_{second}": (first, second) for first, second in pairs}


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"labels are {labels.shape}, expected (n,) with one image or more")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, expected 0 to {num_classes - 1}; "
            "exclude images of unknown class"
        )


def _check_probabilities(labels: np.ndarray, probabilities: np.ndarray, label_set: LabelSet) -> None:
    expected = (len(labels), len(label_set.classes))
    if not label_set.multi_label:
        _check_labels(labels, len(label_set.classes))
    elif labels.shape != expected or not labels.size or not np.isin(labels, (0, 1, UNKNOWN)).all():
        raise ValueError(f"labels are {labels.shape}, expected {expected} with one image or more and values 0, 1 or -1")
    if probabilities.shape != expected:
        raise ValueError(f"probabilities are {probabilities.shape}, expected {expected} for {expected[1]} classes")
    sums = probabilities.sum(axis=1)
    if label_set.multi_label:
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError(
                f"probabilities run from {probabilities.min()} to {probabilities.max()}, expected values from 0 to 1"
            )
    elif not (probabilities >= 0).all() or not np.allclose(sums, 1, atol=ROW_SUM_TOLERANCE):
        raise ValueError(
            f"probabilities have a minimum of {probabilities.min()} and row sums from {sums.min()} to {sums.max()}, "
            "expected values of 0 or more and row sums of 1"
        )


def _measure_classes(
    labels: np.ndarray, probabilities: np.ndarray, label_set: LabelSet, patients: ArrayLike, seed: int
) -> tuple[dict[str, Estimate], np.ndarray]:
    classes, decisions = label_set.classes, probabilities.argmax(axis=1)
    ranked: Sequence[int] = range(len(classes))
    if len(classes) == 2:
        ranked = [classes.index(label_set.positives[-1])]
    rankings = [(labels == number, probabilities[:, number]) for number in ranked]
    pairs = {name: rank_pair(labels, probabilities, pair, label_set) for name, pair in list_pairs(label_set).items()}
    counts = {name: int(rows.sum()) for name, (rows, _) in pairs.items()}
    for number, name in enumerate(classes):
        counts[f"precision_{name}"] = int((decisions == number).sum())
        counts[f"recall_{name}"] = int((labels == number).sum())

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        metrics = {**weigh_decisions(labels, decisions, classes, weights), **weigh_rankings(rankings, weights)}
        for name, (rows, ranking) in pairs.items():
            metrics[name] = weigh_rankings([ranking], weights[:, rows])["auroc"]
        return metrics

    metrics = estimate(compute, patients, counts=counts, seed=seed)
    return metrics, weigh_confusion(labels, decisions, len(classes), np.ones((1, len(labels))))[0]


def rank_pair(
    labels: np.ndarray, probabilities: np.ndarray, pair: Sequence[str], label_set: LabelSet
) -> tuple[np.ndarray, Ranking]:
    """Return `(n,)` bool, the images of two classes, and the ranking of the second of them by p(B) / (p(A) + p(B)).

    Args:
        labels: `(n,)` ints, index of the class, or -1.
        probabilities: `(n, classes)` floats in [0, 1].
        pair: names of two classes.
        label_set: the classes.
    """
    one, other = (label_set.classes.index(name) for name in pair)
    rows = (labels == one) | (labels == other)
    either = probabilities[rows, one] + probabilities[rows, other]
    # If both probabilities are 0, the score is neutral.
    share = np.divide(probabilities[rows, other], either, out=np.full_like(either, 0.5), where=either > 0)
    return rows, (labels[rows] == other, share)


def _measure_findings(
    labels: np.ndarray,
    probabilities: np.ndarray,
    decisions: np.ndarray,
    label_set: LabelSet,
    patients: ArrayLike,
    seed: int,
) -> tuple[dict[str, Estimate], np.ndarray]:
    known = labels != UNKNOWN
    columns = [(name, known[:, number], number) for number, name in enumerate(label_set.classes)]
    cases = {
        name: (rows, *(values[rows, number] for values in (labels, decisions, probabilities)))
        for name, rows, number in columns
    }
    some, exact = known.any(axis=1), ((decisions == labels) | ~known).all(axis=1)

    def compute(weights: np.ndarray) -> dict[str, np.ndarray]:
        metrics: dict[str, np.ndarray] = {}
        for name, (rows, truth, decided, scores) in cases.items():
            at_threshold = weigh_decisions(truth, decided, _ABSENT_PRESENT, weights[:, rows])
            ranking = weigh_rankings([(truth == 1, scores)], weights[:, rows])
            metrics |= _name_finding(name, at_threshold, ranking)
        for average, kind in AVERAGES.items():
            metrics[average] = _average_defined([metrics[f"{kind}_{name}"] for name in cases])
        with np.errstate(invalid="ignore"):
            metrics["subset_accuracy"] = weights[:, some] @ exact[some] / weights[:, some].sum(axis=1)
        return metrics

    counts = {"subset_accuracy": int(some.sum())}
    for name, (rows, truth, decided, _) in cases.items():
        counts |= dict.fromkeys((f"{kind}_{name}" for kind in AVERAGES.values()), int(rows.sum()))
        for kind, flags in (("sensitivity", truth == 1), ("specificity", truth == 0), ("precision", decided == 1)):
            counts[f"{kind}_{name}"] = int(flags.sum())
    confusion = [
        weigh_confusion(truth, decided, 2, np.ones((1, len(truth))))[0] for _, truth, decided, _ in cases.values()
    ]
    return estimate(compute, patients, counts=counts, seed=seed), np.stack(confusion)


def _warn_of_undefined(metrics: Mapping[str, Estimate], label_set: LabelSet, split: str) -> None:
    undefined = [name for name in label_set.classes if np.isnan(metrics[f"auroc_{name}"].value)]
    if undefined:
        names = ", ".join(undefined)
        log.warning("%s has no images both with and without %s; the averages leave these out", split, names)


def _name_finding(
    name: str, decided: Mapping[str, np.ndarray], ranked: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {
        f"auroc_{name}": ranked["auroc"],
        f"auprc_{name}": ranked["auprc"],
        f"sensitivity_{name}": decided["recall_present"],
        f"specificity_{name}": decided["recall_absent"],
        f"precision_{name}": decided["precision_present"],
        f"f1_{name}": np.where(np.isnan(ranked["auroc"]), np.nan, decided["f1_present"]),
    }


def _average_defined(columns: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.stack(columns)
    defined = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, stacked, 0).sum(axis=0) / defined.sum(axis=0))
