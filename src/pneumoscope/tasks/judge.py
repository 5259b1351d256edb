"""What of a classifier is chosen on images that were held out, and how it does on validation and test with that.

Calibration, prediction sets and operating points come from images of series of file names that nets of the same
recipe had not seen, where a study held some out, else from validation: on this data set validation resembles train so
closely that hardly anything is left to choose by.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pneumoscope.evaluation.calibration import calibrate, chain_calibrations, fit_calibration, match_scores
from pneumoscope.evaluation.conformal import COVERAGE, fit_conformal
from pneumoscope.evaluation.metrics import evaluate, evaluate_scores
from pneumoscope.evaluation.operating_points import choose_operating_points
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import THREE_CLASSES, Estimate, Evaluation


@dataclass(frozen=True)
class HeldOut:
    """A recipe on images of series that its nets had not seen.

    Attributes:
        evaluation: of those images.
        references: what nets of the recipe alone say of the validation images, each `(n, classes)`, to tell how their
            scores and those of the exported net compare; empty where the net is one of the recipe alone.
    """

    evaluation: Evaluation
    references: list[np.ndarray]


def judge_classifier(outputs: np.ndarray, dataset: Dataset, seed: int, held_out: HeldOut | None) -> dict[str, Any]:
    """Return calibration and operating points from images that were held out, and figures of validation and test."""
    labels, patients = dataset.labels(THREE_CLASSES), dataset.table["patient"].to_numpy().astype(str)
    val = dataset.rows("val")
    if held_out is None:
        judged, truth, groups = outputs[val], labels[val], patients[val]
        source = "validation images"
    else:
        judged, truth, groups = (getattr(held_out.evaluation, name) for name in ("probabilities", "labels", "patients"))
        source = "images of series"
    fits = fit_calibration(judged, truth, groups, seed=seed)
    probabilities = calibrate(judged, fits[:1])[0]
    limit, sick = fit_conformal(truth, probabilities), 1 - probabilities[:, 0]
    thresholds = choose_operating_points((truth > 0).astype(int), sick)
    measured = evaluate_scores((truth > 0).astype(int), sick, thresholds, patients=groups, seed=seed)
    points = {
        name: {
            "threshold": threshold,
            "sensitivity": plain_figures(measured)[f"flagged_pneumonia_{name}"],
            "one_minus_specificity": plain_figures(measured)[f"flagged_normal_{name}"],
        }
        for name, threshold in thresholds.items()
    }
    if held_out is not None and held_out.references:
        matches = [match_scores(outputs[val], reference) for reference in held_out.references]
        fits = chain_calibrations(np.mean(matches, axis=0), fits)
    chosen = f"{len(truth)} {source} of {len(set(groups))} patients that the net judged was not trained on"
    return {
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
            "limit": limit,
        },
        "operating_points": points,
        "operating_points_from": chosen,
        "figures": {
            **_measure_splits(calibrate(outputs, fits[:1])[0], dataset, thresholds, seed),
            **({} if held_out is None else {"held_out": _measure_held_out(held_out, probabilities, thresholds, seed)}),
        },
    }


def _measure_held_out(
    held_out: HeldOut, probabilities: np.ndarray, thresholds: dict[str, float], seed: int
) -> dict[str, Any]:
    """Return figures of the recipe on the images that all was chosen on: they flatter thresholds, not the ranking."""
    found = held_out.evaluation
    return _measure(probabilities, found.labels, found.patients, found.names, thresholds, split="held_out", seed=seed)


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
    found = evaluate_scores((labels > 0).astype(int), 1 - probabilities[:, 0], thresholds, patients=patients, seed=seed)
    return {"three_class": plain_figures(told.metrics), "normal_or_pneumonia": plain_figures(found)}


def plain_figures(metrics: dict[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    """Return figures as plain values, rounded to four digits; what is not a number becomes None."""
    return {
        name: {field: round(value, 4) if math.isfinite(value) else None for field, value in asdict(figure).items()}
        for name, figure in metrics.items()
    }
