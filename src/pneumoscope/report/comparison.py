"""Metrics of the reference study, of this study and of publications, matched by task, with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pneumoscope.io.results import Estimate
from pneumoscope.io.study_folder import order_configurations
from pneumoscope.report.published import (
    APPROXIMATE,
    REFERENCE,
    TEST_IMAGES,
    Publication,
    best_published,
    list_published,
)
from pneumoscope.report.wording import TASK_TITLES, metric_title

COMPARED = (
    ("binary", "accuracy"),
    ("binary", "auroc"),
    ("three_class", "accuracy"),
    ("three_class", "precision_normal"),
    ("three_class", "precision_bacterial"),
    ("three_class", "precision_viral"),
    ("three_class", "auroc_bacterial_vs_viral"),
    ("neighbors", "accuracy"),
    ("neighbors", "agreement"),
    ("anomaly", "auroc"),
    ("anomaly", "accuracy"),
    ("anomaly", "f1"),
    ("anomaly", "flagged_normal_mean_plus_sd"),
    ("anomaly", "flagged_pneumonia_mean_plus_sd"),
)
HEADLINE_METRICS = (
    ("binary", "accuracy"),
    ("three_class", "accuracy"),
    ("neighbors", "accuracy"),
    ("anomaly", "auroc"),
)


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of one task, by whom it was reached.

    Attributes:
        task, metric: names as in `results.json`.
        reference: of the reference study; None where it gives none or cannot be compared.
        ours: on the test split, by configuration.
        best: the best published value and its source; None where there is none or it cannot be compared.
    """

    task: str
    metric: str
    reference: Estimate | None
    ours: dict[str, Estimate]
    best: tuple[Publication, float] | None

    @property
    def approximate(self) -> bool:
        """Whether the reference study's value is read off a figure."""
        return (self.task, self.metric) in APPROXIMATE


@dataclass(frozen=True)
class Score:
    """One dot of the comparison figure.

    Attributes:
        source: who reached it.
        kind: `reference`, `ours` or `published`.
        estimate: the metric with its interval.
    """

    source: str
    kind: str
    estimate: Estimate


def read_estimate(entry: dict[str, Any]) -> Estimate:
    """Return one metric of `results.json` as an `Estimate`; null becomes NaN."""
    value, low, high = (math.nan if entry[key] is None else float(entry[key]) for key in ("value", "low", "high"))
    return Estimate(value, low, high, entry["n"])


def read_metrics(results: dict[str, Any], task: str) -> dict[str, dict[str, Estimate]]:
    """Return the test metrics of a task by configuration, in reading order."""
    configurations = results["tasks"].get(task, {})
    return {
        name: {metric: read_estimate(entry) for metric, entry in configurations[name]["metrics"].items()}
        for name in order_configurations(configurations)
    }


def compare_metrics(results: dict[str, Any]) -> list[ComparedMetric]:
    """Return the metrics of this study that can be compared; on phantoms without those of others."""
    comparable = not results["data"]["phantoms"]
    compared = []
    for task, metric in COMPARED:
        ours = _collect_ours(results, task, metric)
        if ours:
            reference = reference_estimate(task, metric) if comparable else None
            best = best_published(task, metric) if comparable else None
            compared.append(ComparedMetric(task, metric, reference, ours, best))
    return compared


def _collect_ours(results: dict[str, Any], task: str, metric: str) -> dict[str, Estimate]:
    return {name: metrics[metric] for name, metrics in read_metrics(results, task).items() if metric in metrics}


def collect_scores(results: dict[str, Any]) -> dict[str, list[Score]]:
    """Return all scores by task title: the reference study, this study, then others from low to high."""
    panels = {}
    for task, metric in HEADLINE_METRICS:
        scores = [
            Score(f"ours, {name}", "ours", estimate) for name, estimate in _collect_ours(results, task, metric).items()
        ]
        if scores and not results["data"]["phantoms"]:
            reference = reference_estimate(task, metric)
            first = [Score("reference study", "reference", reference)] if reference else []
            others = sorted(list_published(task, metric), key=lambda pair: pair[1])
            scores = first + scores
            scores += [Score(source.name, "published", sampling_interval(metric, value)) for source, value in others]
        if scores:
            panels[f"{TASK_TITLES[task]}: {metric_title(metric)}"] = scores
    return panels


def reference_estimate(task: str, metric: str) -> Estimate | None:
    """Return the reference study's value, with the interval that the size of its test set alone implies."""
    value = REFERENCE.get(task, {}).get(metric)
    return None if value is None else sampling_interval(metric, value)


def sampling_interval(metric: str, value: float) -> Estimate:
    """Return a published value with the 95 % interval of a share of the official test images.

    Only an accuracy is a share of all of them (Wilson 1927, images as independent, hence too narrow); other metrics
    have no interval.

    Example:
        >>> print(sampling_interval("accuracy", 0.774))
        0.774 [0.740, 0.805]
    """
    from scipy.stats import binomtest

    if metric != "accuracy":
        return Estimate(value, math.nan, math.nan, TEST_IMAGES)
    interval = binomtest(round(value * TEST_IMAGES), TEST_IMAGES).proportion_ci(method="wilson")
    return Estimate(value, interval.low, interval.high, TEST_IMAGES)
