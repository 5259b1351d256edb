"""Paper, ours and published, side by side: which figures stand in one row, and how sure each is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pneumoscope.io.results import Estimate
from pneumoscope.io.study_folder import order_configurations
from pneumoscope.report.published import APPROXIMATE, PAPER, PUBLICATIONS, TEST_IMAGES, Publication, best_published
from pneumoscope.report.wording import TASK_TITLES, configuration_title, metric_title

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
class Row:
    """One figure of one task, by whom it was reached.

    Attributes:
        task, metric: names as in `results.json`.
        paper: the paper's figure; None where it gives none or cannot be compared.
        ours: our figure on the test split by configuration.
        best: the best published figure and its source; None where there is none or it cannot be compared.
    """

    task: str
    metric: str
    paper: Estimate | None
    ours: dict[str, Estimate]
    best: tuple[Publication, float] | None

    @property
    def title(self) -> str:
        """What the figure is called in a table."""
        return metric_title(self.metric)

    @property
    def approximate(self) -> bool:
        """Whether the paper's figure is only roughly known."""
        return (self.task, self.metric) in APPROXIMATE


@dataclass(frozen=True)
class Score:
    """One dot of the comparison figure.

    Attributes:
        source: whose figure it is.
        kind: `reference`, `ours` or `published`.
        estimate: the figure with its interval.
    """

    source: str
    kind: str
    estimate: Estimate


def read_estimate(entry: dict[str, Any]) -> Estimate:
    """Return one metric of `results.json` as an `Estimate`; null becomes NaN."""
    value, low, high = (math.nan if entry[key] is None else float(entry[key]) for key in ("value", "low", "high"))
    return Estimate(value, low, high, entry["n"])


def read_metrics(results: dict[str, Any], task: str) -> dict[str, dict[str, Estimate]]:
    """Return the test figures of a task by configuration, in reading order."""
    configurations = results["tasks"].get(task, {})
    return {
        name: {metric: read_estimate(entry) for metric, entry in configurations[name]["metrics"].items()}
        for name in order_configurations(configurations)
    }


def compare_figures(results: dict[str, Any]) -> list[Row]:
    """Return the rows of the comparison table that this study has a figure for.

    On phantoms the figures of others are left out: they were reached on radiographs.
    """
    comparable = not results["data"]["phantoms"]
    rows = []
    for task, metric in COMPARED:
        ours = {name: metrics[metric] for name, metrics in read_metrics(results, task).items() if metric in metrics}
        if ours:
            paper = paper_estimate(task, metric) if comparable else None
            rows.append(Row(task, metric, paper, ours, best_published(task, metric) if comparable else None))
    return rows


def collect_scores(results: dict[str, Any]) -> dict[str, list[Score]]:
    """Return everyone's scores by task title, the paper first, then ours, then others from low to high."""
    panels = {}
    for task, metric in HEADLINE_METRICS:
        ours = {name: metrics[metric] for name, metrics in read_metrics(results, task).items() if metric in metrics}
        if not ours:
            continue
        scores = [Score(f"ours, {configuration_title(name)}", "ours", estimate) for name, estimate in ours.items()]
        if not results["data"]["phantoms"]:
            paper = paper_estimate(task, metric)
            scores = (
                ([Score("the paper", "reference", paper)] if paper else []) + scores + _published_scores(task, metric)
            )
        panels[f"{TASK_TITLES[task]}: {metric_title(metric)}"] = scores
    return panels


def _published_scores(task: str, metric: str) -> list[Score]:
    found = [
        (paper.name, paper.figures[task][metric]) for paper in PUBLICATIONS if metric in paper.figures.get(task, {})
    ]
    return [
        Score(name, "published", sampling_interval(metric, value))
        for name, value in sorted(found, key=lambda pair: pair[1])
    ]


def paper_estimate(task: str, metric: str) -> Estimate | None:
    """Return the paper's figure, with the interval that the size of its test set alone implies."""
    value = PAPER.get(task, {}).get(metric)
    return None if value is None else sampling_interval(metric, value)


def sampling_interval(metric: str, value: float) -> Estimate:
    """Return a published figure with the 95 % interval of a share of the official test images.

    Only an accuracy is a share of all of them (Wilson 1927, treating images as independent, so rather too
    narrow); any other figure keeps no interval.

    Example:
        >>> print(sampling_interval("accuracy", 0.774))
        0.774 [0.740, 0.805]
    """
    from scipy.stats import binomtest

    if metric != "accuracy":
        return Estimate(value, math.nan, math.nan, TEST_IMAGES)
    interval = binomtest(round(value * TEST_IMAGES), TEST_IMAGES).proportion_ci(method="wilson")
    return Estimate(value, interval.low, interval.high, TEST_IMAGES)
