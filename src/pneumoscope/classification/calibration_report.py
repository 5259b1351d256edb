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
from pneumoscope.labels import UNKNOWN, LabelSet
from pneumoscope.metrics.calibration import MIN_SCALE, calibrate, fit_calibration
from pneumoscope.metrics.classification import evaluate, evaluate_scores, list_pairs
from pneumoscope.metrics.conformal import COVERAGE, fit_conformal
from pneumoscope.metrics.operating_points import POINTS, BinaryCases, choose_operating_points, list_decided
from pneumoscope.progress import log

CALIBRATION_METHOD = "vector scaling with a shared scale, classes weighted to stated frequencies"
FINDINGS_METHOD = "scale and offset per finding, at the prevalence of the images of the fit"
CONFORMAL_METHOD = "split conformal, least ambiguous sets"
# Threshold of a class that the images of the fit do not separate from the others.
DEFAULT_THRESHOLD = 0.5

UNDEFINED = Estimate(math.nan, math.nan, math.nan, n=0)

# By class, the threshold of each operating point.
Thresholds = dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Cases:
    """Probabilities `(n, classes)`, labels as of a dataset, and patients and names `(n,)` of the same images."""

    label_set: LabelSet
    probabilities: NDArray[np.floating]
    labels: NDArray[np.integer]
    patients: NDArray[np.str_]
    names: NDArray[np.str_]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "_Cases":
        return cls(
            evaluation.label_set, evaluation.probabilities, evaluation.labels, evaluation.patients, evaluation.names
        )

    @property
    def decided(self) -> dict[str, BinaryCases]:
        return list_decided(self.labels, self.probabilities, self.label_set)

    @property
    def missing(self) -> list[str]:
        """Classes without images, or findings without images both with and without them."""
        if self.label_set.multi_label:
            return [name for name, cases in self.decided.items() if not cases.is_decidable]
        return [name for number, name in enumerate(self.label_set.classes) if number not in self.labels]


def report_calibration(
    outputs: NDArray[np.floating],
    dataset: Dataset,
    seed: int,
    *,
    label_set: LabelSet | None = None,
    held_out: Evaluation | None = None,
    other_seeds: Mapping[int, NDArray[np.floating]] | None = None,
) -> CalibrationReport:
    """Fit calibration, conformal limit and operating points of a classifier, and measure it on validation and test.

    Probabilities stay as they are if a class has no image to fit on, and the threshold of the operating points is then
    `DEFAULT_THRESHOLD`. The same holds for each finding without images both with and without it. The report says so.

    Args:
        outputs: `(n, classes)` floats in (0, 1]: uncalibrated outputs for all images of `dataset`.
        dataset: with the splits `val` and, if it has one, `test`.
        seed: of the classifier and of the bootstrap.
        label_set: the classes of the classifier; by default those of the dataset.
        held_out: cross-validated predictions by the protocol `series`, to fit on; None fits on validation.
        other_seeds: by seed, outputs for all images of models that differ only in the seed.
    """
    label_set = label_set or dataset.label_set
    cases = _select_cases(outputs, dataset, label_set, "val") if held_out is None else _Cases.of(held_out)
    fits = fit_calibration(cases.probabilities, cases.labels, cases.patients, seed=seed, prior=label_set.prior)
    scales = fits[0, : len(label_set.classes) if label_set.multi_label else 1]
    if (scales <= MIN_SCALE).any():
        log.warning(
            "the outputs do not separate the classes of the %d images of the fit: probabilities say little",
            len(cases.labels),
        )
    calibrated = replace(cases, probabilities=calibrate(cases.probabilities, fits[:1])[0])
    thresholds = _choose_thresholds(calibrated)
    probabilities = calibrate(outputs, fits[:1])[0]
    splits = {split: _select_cases(probabilities, dataset, label_set, split) for split in ("val", "test")}
    metrics = {
        split: _measure(part, thresholds, split=split, seed=seed) for split, part in splits.items() if len(part.labels)
    }
    if held_out is not None:
        # The thresholds were chosen on these images: threshold metrics are optimistic, ranking metrics are not.
        metrics["held_out"] = _measure(calibrated, thresholds, split="held_out", seed=seed)
    source = "validation images" if held_out is None else "images in held-out file-name series"
    chosen = f"{len(cases.labels)} {source}, {len(set(cases.patients))} patients"
    parameters = tuple(tuple(fit) for fit in fits.round(6).tolist())
    return CalibrationReport(
        calibration=Calibration(
            _name_method(cases),
            chosen,
            fitted=parameters[0],
            resampled=parameters[1:],
            frequencies=() if label_set.multi_label or cases.missing else tuple(label_set.prior.tolist()),
        ),
        conformal=None
        if label_set.multi_label
        else ConformalLimit(
            CONFORMAL_METHOD, COVERAGE, chosen, limit=fit_conformal(cases.labels, calibrated.probabilities)
        ),
        operating_points=_describe_points(calibrated, thresholds, seed),
        operating_points_from=_name_source(calibrated, chosen),
        metrics=metrics,
        seeds=_compare_seeds({seed: outputs, **(other_seeds or {})}, fits[:1], dataset, label_set, thresholds, seed)
        if "test" in metrics
        else None,
    )


def round_metrics(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return metrics rounded to four decimals."""
    return {
        name: Estimate(_round(metric.value), _round(metric.low), _round(metric.high), metric.n)
        for name, metric in metrics.items()
    }


def _round(value: float) -> float:
    return round(value, 4) if math.isfinite(value) else math.nan


def _name_method(cases: _Cases) -> str:
    missing = ", ".join(cases.missing)
    if cases.label_set.multi_label:
        return FINDINGS_METHOD + (f"; not calibrated: {missing}" if missing else "")
    return f"none, there is no image of {missing} to fit on" if missing else CALIBRATION_METHOD


def _name_source(cases: _Cases, chosen: str) -> str:
    defaults = [name for name, one in cases.decided.items() if not one.is_decidable]
    if not defaults:
        return chosen
    return f"{chosen}; {DEFAULT_THRESHOLD} for {', '.join(defaults)}, without images both with and without it"


def _choose_thresholds(cases: _Cases) -> Thresholds:
    return {
        name: choose_operating_points(one.labels, one.scores)
        if one.is_decidable
        else dict.fromkeys(POINTS, DEFAULT_THRESHOLD)
        for name, one in cases.decided.items()
    }


def _describe_points(cases: _Cases, thresholds: Thresholds, seed: int) -> dict[str, dict[str, OperatingPoint]]:
    points: dict[str, dict[str, OperatingPoint]] = {}
    for name, one in cases.decided.items():
        metrics = _measure_scores(one, thresholds[name], cases, seed)
        for point, threshold in thresholds[name].items():
            found = (metrics.get(f"{kind}_{point}", UNDEFINED) for kind in ("sensitivity", "false_positive_rate"))
            points.setdefault(point, {})[name] = OperatingPoint(threshold, *found)
    return points


def _measure_scores(one: BinaryCases, thresholds: Mapping[str, float], cases: _Cases, seed: int) -> dict[str, Estimate]:
    if not len(one.labels):
        return {}
    patients = cases.patients[one.rows]
    return round_metrics(evaluate_scores(one.labels, one.scores, thresholds, patients=patients, seed=seed))


def _compare_seeds(
    outputs: Mapping[int, NDArray[np.floating]],
    fit: NDArray[np.floating],
    dataset: Dataset,
    label_set: LabelSet,
    thresholds: Thresholds,
    seed: int,
) -> SeedComparison | None:
    """Return mean, standard deviation and values of some metrics on test over seeds; None for a single seed."""
    if len(outputs) < 2:
        return None
    tests = [
        _measure(
            _select_cases(calibrate(one_seed, fit)[0], dataset, label_set, "test"), thresholds, split="test", seed=seed
        )
        for one_seed in outputs.values()
    ]
    pairs = list_pairs(label_set)
    compared = {
        "positive": ("accuracy_balanced", "auroc") if label_set.positive else (),
        "classes": ("auroc", "macro_f1") if label_set.multi_label else ("accuracy", *(pairs or ["auroc"])),
    }
    spreads = {}
    for task, names in compared.items():
        for name in names:
            values = tuple(getattr(test, task)[name].value for test in tests)
            spreads[f"{task}/{name}"] = Spread(float(np.mean(values)), float(np.std(values, ddof=1)), values)
    return SeedComparison(tuple(outputs), spreads)


def _select_cases(probabilities: NDArray[np.floating], dataset: Dataset, label_set: LabelSet, split: str) -> _Cases:
    labels = dataset.labels(label_set)
    rows = dataset.rows(split)
    known = labels[rows] != UNKNOWN
    rows = rows[known.any(axis=1) if label_set.multi_label else known]
    return _Cases(label_set, probabilities[rows], labels[rows], dataset.patients[rows], dataset.names[rows])


def _measure(cases: _Cases, thresholds: Thresholds, *, split: str, seed: int) -> SplitMetrics:
    evaluation = evaluate(
        cases.labels,
        cases.probabilities,
        label_set=cases.label_set,
        split=split,
        patients=cases.patients,
        names=cases.names,
        seed=seed,
        thresholds={name: points["balanced"] for name, points in thresholds.items()},
    )
    positive = {} if cases.label_set.multi_label else cases.decided
    scores = [_measure_scores(one, thresholds[name], cases, seed) for name, one in positive.items()]
    return SplitMetrics(round_metrics(evaluation.metrics), scores[0] if scores else {})
