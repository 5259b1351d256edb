"""What of a classifier is chosen on images that were held out, and how it does on validation and test with that.

Calibration, prediction sets and operating points come from images of series of file names that nets of the same
recipe had not seen, where a study held some out, else from validation: on this data set validation resembles train so
closely that hardly anything is left to choose by.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pneumoscope.evaluation.calibration import calibrate, fit_calibration
from pneumoscope.evaluation.conformal import COVERAGE, fit_conformal
from pneumoscope.evaluation.metrics import evaluate, evaluate_scores
from pneumoscope.evaluation.operating_points import choose_operating_points
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import THREE_CLASSES, Estimate, Evaluation

SEED_FIGURES = {
    "normal_or_pneumonia": ("accuracy_balanced", "auroc"),
    "three_class": ("accuracy", "auroc_bacterial_vs_viral"),
}


def judge_classifier(
    outputs: np.ndarray,
    dataset: Dataset,
    seed: int,
    *,
    held_out: Evaluation | None = None,
    other_seeds: Mapping[int, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return what is chosen on images that were held out, and the figures of validation and test with it.

    Args:
        outputs: `(n, classes)` floats in (0, 1], rows sum to 1: what the net gives for all images of `dataset`.
        dataset: with the splits `val` and `test`.
        seed: of the net and of all resampling.
        held_out: the recipe on images of series that its nets had not seen, to choose on; None chooses on validation.
        other_seeds: by seed, what nets that differ in it alone give for all images; they tell how far seeds lie apart.

    Returns:
        `calibration`, `conformal`, `operating_points`, `operating_points_from`, `figures`, and `seeds` where there are
        nets of several seeds; all plain values.
    """
    if held_out is None:
        val, source = dataset.rows("val"), "validation images"
        judged, truth = outputs[val], dataset.labels(THREE_CLASSES)[val]
        groups = dataset.table["patient"].to_numpy().astype(str)[val]
    else:
        source = "images of series of file names"
        judged, truth, groups = held_out.probabilities, held_out.labels, held_out.patients
    fits = fit_calibration(judged, truth, groups, seed=seed)
    probabilities = calibrate(judged, fits[:1])[0]
    sick, labels = 1 - probabilities[:, 0], (truth > 0).astype(np.int64)
    thresholds = choose_operating_points(labels, sick)
    measured = plain_figures(evaluate_scores(labels, sick, thresholds, patients=groups, seed=seed))
    chosen = f"{len(truth)} {source} of {len(set(groups))} patients that the net judged was not trained on"
    facts: dict[str, Any] = {
        "calibration": {
            "method": "vector scaling with one scale, classes weighed alike",
            "fitted_on": chosen,
            "fitted": fits[0].round(6).tolist(),
            "resampled": fits[1:].round(6).tolist(),
        },
        "conformal": {
            "method": "split conformal, least ambiguous sets",
            "coverage": COVERAGE,
            "fitted_on": chosen,
            "limit": fit_conformal(truth, probabilities),
        },
        "operating_points": {
            name: {
                "threshold": threshold,
                "sensitivity": measured[f"flagged_pneumonia_{name}"],
                "one_minus_specificity": measured[f"flagged_normal_{name}"],
            }
            for name, threshold in thresholds.items()
        },
        "operating_points_from": chosen,
        "figures": _measure_splits(calibrate(outputs, fits[:1])[0], dataset, thresholds, seed),
    }
    if held_out is not None:
        # They flatter the thresholds, which were chosen on the same images, not the ranking.
        facts["figures"]["held_out"] = _measure(
            probabilities, truth, groups, held_out.names, thresholds, split="held_out", seed=seed
        )
    if other_seeds:
        facts["seeds"] = _compare_seeds({seed: outputs, **other_seeds}, fits[:1], dataset, thresholds, seed)
    return facts


def _compare_seeds(
    outputs: Mapping[int, np.ndarray], fit: np.ndarray, dataset: Dataset, thresholds: dict[str, float], seed: int
) -> dict[str, Any]:
    """Return mean, standard deviation and single values of some test figures of nets that differ in their seed."""
    found: dict[str, list[float]] = {}
    for told in outputs.values():
        test = _measure_splits(calibrate(told, fit)[0], dataset, thresholds, seed)["test"]
        for kind, names in SEED_FIGURES.items():
            for name in names:
                found.setdefault(f"{kind}/{name}", []).append(test[kind][name]["value"])
    return {
        "seeds": list(outputs),
        "test": {
            name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}
            for name, values in found.items()
        },
    }


def _measure_splits(
    probabilities: np.ndarray, dataset: Dataset, thresholds: dict[str, float], seed: int
) -> dict[str, dict[str, Any]]:
    """Return the figures of calibrated probabilities on validation and on test."""
    labels, patients = dataset.labels(THREE_CLASSES), dataset.table["patient"].to_numpy().astype(str)
    names = dataset.table["name"].to_numpy().astype(str)
    figures: dict[str, dict[str, Any]] = {}
    for split in ("val", "test"):
        rows = dataset.rows(split)
        figures[split] = _measure(
            probabilities[rows], labels[rows], patients[rows], names[rows], thresholds, split=split, seed=seed
        )
    return figures


def _measure(
    probabilities: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    names: np.ndarray,
    thresholds: dict[str, float],
    *,
    split: str,
    seed: int,
) -> dict[str, Any]:
    told = evaluate(
        labels, probabilities, classes=THREE_CLASSES, split=split, patients=patients, names=names, seed=seed
    )
    sick = 1 - probabilities[:, 0]
    found = evaluate_scores((labels > 0).astype(int), sick, thresholds, patients=patients, seed=seed)
    return {"three_class": plain_figures(told.metrics), "normal_or_pneumonia": plain_figures(found)}


def plain_figures(metrics: dict[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    """Return figures as plain values, rounded to four digits; what is not a number becomes None."""
    return {
        name: {field: round(value, 4) if math.isfinite(value) else None for field, value in asdict(figure).items()}
        for name, figure in metrics.items()
    }
