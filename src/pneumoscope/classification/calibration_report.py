"""Calibration, operating points and metrics of a classifier, for its model card.

Calibration, conformal limit and operating points are fitted on cross-validated predictions for held-out file-name
series, if available, else on validation. Validation of the Kermany data set is so similar to train that it has few
errors to fit on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import Estimate, Evaluation
from pneumoscope.io.results.calibration import (
    Calibration,
    CalibrationReport,
    ConformalLimit,
    OperatingPoint,
    SeedComparison,
    SplitMetrics,
    Spread,
)
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.calibration import calibrate, fit_calibration
from pneumoscope.metrics.classification import evaluate, evaluate_scores
from pneumoscope.metrics.conformal import COVERAGE, fit_conformal
from pneumoscope.metrics.operating_points import choose_operating_points

CALIBRATION_METHOD = "vector scaling with a shared scale, equal class weights"
CONFORMAL_METHOD = "split conformal, least ambiguous sets"
SEED_METRICS = {
    "normal_or_pneumonia": ("accuracy_balanced", "auroc"),
    "three_class": ("accuracy", "auroc_bacterial_vs_viral"),
}


@dataclass(frozen=True)
class _Cases:
    """Probabilities `(n, classes)`, and labels, patients and names `(n,)` of the same images."""

    probabilities: NDArray[np.floating]
    labels: NDArray[np.integer]
    patients: NDArray[np.str_]
    names: NDArray[np.str_]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "_Cases":
        return cls(evaluation.probabilities, evaluation.labels, evaluation.patients, evaluation.names)


def report_calibration(
    outputs: NDArray[np.floating],
    dataset: Dataset,
    seed: int,
    *,
    held_out: Evaluation | None = None,
    other_seeds: Mapping[int, NDArray[np.floating]] | None = None,
) -> CalibrationReport:
    """Fit calibration, conformal limit and operating points of a classifier, and measure it on validation and test.

    Args:
        outputs: `(n, classes)` floats in (0, 1], rows sum to 1: uncalibrated outputs for all images of `dataset`.
        dataset: with the splits `val` and `test`.
        seed: of the classifier and of the bootstrap.
        held_out: cross-validated predictions by the protocol `series`, to fit on; None fits on validation.
        other_seeds: by seed, outputs for all images of models that differ only in the seed.
    """
    cases = _select_cases(outputs, dataset, "val") if held_out is None else _Cases.of(held_out)
    fits = fit_calibration(cases.probabilities, cases.labels, cases.patients, seed=seed)
    calibrated = replace(cases, probabilities=calibrate(cases.probabilities, fits[:1])[0])
    positive = 1 - calibrated.probabilities[:, 0]
    thresholds = choose_operating_points((cases.labels > 0).astype(np.int64), positive)
    probabilities = calibrate(outputs, fits[:1])[0]
    metrics = {
        split: _measure(_select_cases(probabilities, dataset, split), thresholds, split=split, seed=seed)
        for split in ("val", "test")
    }
    if held_out is not None:
        # The thresholds were chosen on these images: threshold metrics are optimistic, ranking metrics are not.
        metrics["held_out"] = _measure(calibrated, thresholds, split="held_out", seed=seed)
    source = "validation images" if held_out is None else "images in held-out file-name series"
    chosen = f"{len(cases.labels)} {source}, {len(set(cases.patients))} patients"
    parameters = tuple(tuple(fit) for fit in fits.round(6).tolist())
    return CalibrationReport(
        calibration=Calibration(CALIBRATION_METHOD, chosen, fitted=parameters[0], resampled=parameters[1:]),
        conformal=ConformalLimit(
            CONFORMAL_METHOD, COVERAGE, chosen, limit=fit_conformal(cases.labels, calibrated.probabilities)
        ),
        operating_points=_describe_points(calibrated, thresholds, seed),
        operating_points_from=chosen,
        metrics=metrics,
        seeds=_compare_seeds({seed: outputs, **(other_seeds or {})}, fits[:1], dataset, thresholds, seed),
    )


def round_metrics(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return metrics rounded to four decimals."""
    return {
        name: Estimate(_round(metric.value), _round(metric.low), _round(metric.high), metric.n)
        for name, metric in metrics.items()
    }


def _round(value: float) -> float:
    return round(value, 4) if math.isfinite(value) else math.nan


def _describe_points(cases: _Cases, thresholds: dict[str, float], seed: int) -> dict[str, OperatingPoint]:
    labels, scores = (cases.labels > 0).astype(np.int64), 1 - cases.probabilities[:, 0]
    metrics = round_metrics(evaluate_scores(labels, scores, thresholds, patients=cases.patients, seed=seed))
    return {
        name: OperatingPoint(threshold, metrics[f"flagged_pneumonia_{name}"], metrics[f"flagged_normal_{name}"])
        for name, threshold in thresholds.items()
    }


def _compare_seeds(
    outputs: Mapping[int, NDArray[np.floating]],
    fit: NDArray[np.floating],
    dataset: Dataset,
    thresholds: dict[str, float],
    seed: int,
) -> SeedComparison | None:
    """Return mean, standard deviation and values of `SEED_METRICS` on test over seeds; None for a single seed."""
    if len(outputs) < 2:
        return None
    tests = [
        _measure(_select_cases(calibrate(one_seed, fit)[0], dataset, "test"), thresholds, split="test", seed=seed)
        for one_seed in outputs.values()
    ]
    spreads = {}
    for task, names in SEED_METRICS.items():
        for name in names:
            values = tuple(getattr(test, task)[name].value for test in tests)
            spreads[f"{task}/{name}"] = Spread(float(np.mean(values)), float(np.std(values, ddof=1)), values)
    return SeedComparison(tuple(outputs), spreads)


def _select_cases(probabilities: NDArray[np.floating], dataset: Dataset, split: str) -> _Cases:
    rows = dataset.rows(split)
    labels = dataset.labels(THREE_CLASSES)
    return _Cases(probabilities[rows], labels[rows], dataset.patients[rows], dataset.names[rows])


def _measure(cases: _Cases, thresholds: dict[str, float], *, split: str, seed: int) -> SplitMetrics:
    evaluation = evaluate(
        cases.labels,
        cases.probabilities,
        classes=THREE_CLASSES,
        split=split,
        patients=cases.patients,
        names=cases.names,
        seed=seed,
    )
    labels, scores = (cases.labels > 0).astype(int), 1 - cases.probabilities[:, 0]
    binary = evaluate_scores(labels, scores, thresholds, patients=cases.patients, seed=seed)
    return SplitMetrics(round_metrics(evaluation.metrics), round_metrics(binary))
