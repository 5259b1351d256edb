"""Metrics of the reference study, of this study and of publications, with intervals."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import Any

from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.results import Estimate
from pneumoscope.io.study_folder import CLASSIFICATIONS, order_configurations
from pneumoscope.labels import LabelSet
from pneumoscope.report.published import APPROXIMATE, REFERENCE, TEST_IMAGES, Publication, best_published
from pneumoscope.report.wording import task_titles

COMPARED = {
    "binary": ("accuracy", "auroc"),
    "multiclass": ("accuracy", "precision_*", "auroc_*"),
    "multilabel": ("auroc", "auroc_*"),
    "neighbors": ("accuracy", "agreement"),
    "anomaly": (
        "auroc",
        "accuracy",
        "f1",
        "accuracy_two_sided",
        "false_positive_rate_two_sided",
        "sensitivity_two_sided",
    ),
}
# The table compares each class of sets with at most this number.
MOST_CLASSES = 8
HEADLINE_METRICS = {"binary": "accuracy", "multiclass": "accuracy", "multilabel": "auroc"}


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of one task from all sources.

    Attributes:
        task, metric: names as in `results.json`.
        reference: value of the reference study; None if not reported or not comparable.
        ours: value on the test split by configuration.
        best: the best published value and its source; None if not reported or not comparable.
    """

    task: str
    metric: str
    reference: Estimate | None
    ours: dict[str, Estimate]
    best: tuple[Publication, float] | None

    @property
    def approximate(self) -> bool:
        """Whether the value of the reference study was read from a plot."""
        return (self.task, self.metric) in APPROXIMATE


def read_estimate(entry: dict[str, Any]) -> Estimate:
    """Return one metric of `results.json` as an `Estimate`; null becomes NaN."""
    value, low, high = (math.nan if entry[key] is None else float(entry[key]) for key in ("value", "low", "high"))
    return Estimate(value, low, high, entry["n"])


def read_metrics(results: dict[str, Any], task: str) -> dict[str, dict[str, Estimate]]:
    """Return the test metrics of a task by configuration, in the order of the report."""
    configurations = results["tasks"].get(task, {})
    return {
        name: {metric: read_estimate(entry) for metric, entry in configurations[name]["metrics"].items()}
        for name in order_configurations(configurations)
    }


def read_label_set(results: dict[str, Any]) -> LabelSet:
    """Return the classes of the study's data."""
    entry = results["data"]["label_set"]
    groups = {name: tuple(members) for name, members in entry["groups"].items()}
    return LabelSet(**{**entry, "classes": tuple(entry["classes"]), "groups": groups})


def is_comparable(results: dict[str, Any]) -> bool:
    """Return whether the metrics are of radiographs with the classes of the reference study and the publications."""
    return not results["data"]["phantoms"] and read_label_set(results).classes == KERMANY_LABELS.classes


def list_titles(results: dict[str, Any]) -> dict[str, str]:
    """Return the titles of the tasks of a study."""
    tasks = {task: results["tasks"].get(task, {}) for task in CLASSIFICATIONS}
    return task_titles({task: next(iter(e.values()))["label_set"]["classes"] for task, e in tasks.items() if e})


def compare_metrics(results: dict[str, Any]) -> list[ComparedMetric]:
    """Return the metrics of the comparison table; `*` in `COMPARED` stands for each class."""
    comparable = is_comparable(results)
    compared = []
    for task, patterns in COMPARED.items():
        ours = read_metrics(results, task)
        measured = dict.fromkeys(name for metrics in ours.values() for name in metrics)
        matches = [fnmatch.filter(measured, pattern) for pattern in patterns]
        for metric in (name for names in matches if len(names) <= MOST_CLASSES for name in names):
            values = {name: metrics[metric] for name, metrics in ours.items() if metric in metrics}
            reference = reference_estimate(task, metric) if comparable else None
            best = best_published(task, metric) if comparable else None
            compared.append(ComparedMetric(task, metric, reference, values, best))
    return compared


def reference_estimate(task: str, metric: str) -> Estimate | None:
    """Return a value of the reference study with an interval computed from the number of official test images.

    An accuracy gets the 95 % Wilson interval. It treats images as independent, so it is too narrow. Other metrics get
    no interval.

    Example:
        >>> print(reference_estimate("binary", "accuracy"))
        0.774 [0.740, 0.805]
    """
    from scipy.stats import binomtest

    value = REFERENCE.get(task, {}).get(metric)
    if value is None or metric != "accuracy":
        return None if value is None else Estimate(value, math.nan, math.nan, TEST_IMAGES)
    interval = binomtest(round(value * TEST_IMAGES), TEST_IMAGES).proportion_ci(method="wilson")
    return Estimate(value, interval.low, interval.high, TEST_IMAGES)
