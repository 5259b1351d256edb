"""Figures on some of the images, each with its interval."""

import numpy as np

from pneumoscope.io.results import Estimate, EvaluatedImages, Evaluation, Roc, Scope
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.classification import evaluate, evaluate_scores
from pneumoscope.metrics.operating_points import estimate_specificity


def select_images(images: EvaluatedImages, rows: np.ndarray) -> EvaluatedImages:
    """Return some of the images, by a mask or by indices."""
    return EvaluatedImages(**{name: values[rows] for name, values in vars(images).items()})


def measure_scopes(
    images: EvaluatedImages, thresholds: dict[str, float], *, split: str, seed: int = 0
) -> dict[str, Scope]:
    """Return the figures on `all` images, on those the gate `accepted`, and on those answered for `sure`.

    A scope without images is missing; for the arguments see `measure_scope`.
    """
    masks = {
        "all": np.ones(len(images.names), dtype=bool),
        "accepted": images.decisions != "refused",
        "sure": np.isin(images.decisions, BINARY_CLASSES),
    }
    return {
        name: measure_scope(select_images(images, rows), thresholds, split=split, seed=seed)
        for name, rows in masks.items()
        if rows.any()
    }


def measure_scope(images: EvaluatedImages, thresholds: dict[str, float], *, split: str, seed: int = 0) -> Scope:
    """Return the figures of normal or pneumonia, and of the three classes where they are known.

    Args:
        images: one or more.
        thresholds: probability of pneumonia, by operating point.
        split: for the record.
        seed: of the resampling.
    """
    sick = np.clip(1 - images.probabilities[:, 0], 0, 1)
    found = evaluate_scores(images.labels, sick, thresholds, patients=images.patients, seed=seed)
    ranking = {name: found[name] for name in ("auroc", "auprc")}
    ranking["specificity_at_sensitivity"] = estimate_specificity(images.labels, sick, images.patients, seed=seed)
    points = {
        name: {
            "sensitivity": found[f"flagged_pneumonia_{name}"],
            "specificity": _complement(found[f"flagged_normal_{name}"]),
            "accuracy": found[f"accuracy_{name}"],
        }
        for name in thresholds
    }
    three_class = _measure_three_class(images, split, seed)
    return Scope(len(images.names), len(set(images.patients.tolist())), ranking, points, three_class)


def trace_roc(images: EvaluatedImages) -> Roc | None:
    """Return the ROC curve of pneumonia, or None where a class is missing."""
    from sklearn.metrics import roc_curve

    if len(set(images.labels.tolist())) < 2:
        return None
    false_alarms, sensitivity, _ = roc_curve(images.labels, 1 - images.probabilities[:, 0])
    return Roc(false_alarms, sensitivity)


def _measure_three_class(images: EvaluatedImages, split: str, seed: int) -> Evaluation | None:
    if not (images.subtypes > 0).any():
        return None
    known = select_images(images, images.subtypes >= 0)
    return evaluate(
        known.subtypes,
        known.probabilities,
        classes=THREE_CLASSES,
        split=split,
        patients=known.patients,
        names=known.names,
        seed=seed,
    )


def _complement(share: Estimate) -> Estimate:
    return Estimate(1 - share.value, 1 - share.high, 1 - share.low, share.n)
