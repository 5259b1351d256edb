"""The numbers of `results.json` and of the audit as rows for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumoscope.io.results import Estimate
from pneumoscope.io.study_folder import order_configurations
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.report.comparison import read_estimate
from pneumoscope.report.wording import (
    configuration_title,
    field_title,
    metric_title,
    word_interval,
    word_seconds,
    word_value,
)

FIRST_METRICS = ("accuracy", "balanced_accuracy", "auroc", "auprc", "macro_f1", "agreement")
SECOND_NET = "_three_class"
MOST_LISTED = 40


@dataclass(frozen=True)
class Cell:
    """A figure as read by a person, its interval, and the number of images behind it where that is told."""

    value: str
    interval: str = ""
    n: str = ""


EMPTY = Cell("-")


@dataclass(frozen=True)
class MetricTable:
    """Figures of one task: a column a configuration and split and a row a metric.

    Attributes:
        columns: `(configuration, split)` as titles.
        rows: `(metric title, cells)`.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[Cell]]]


def word_cell(name: str, estimate: Estimate, *, counted: bool = False) -> Cell:
    """Return a figure as a cell, `counted` with the number of images behind it."""
    n = f"{estimate.n:,}" if counted else ""
    return Cell(word_value(name, estimate.value), word_interval(name, estimate), n)


def tabulate_metrics(configurations: Mapping[str, Mapping[str, Any]], *, suffix: str = "") -> MetricTable:
    """Return the figures of a task.

    Args:
        configurations: entries of one task of `results.json` by configuration.
        suffix: of the metric names that are wanted; it is left out of their titles.
    """
    columns: list[tuple[str, str]] = []
    figures: list[dict[str, Any]] = []
    for configuration in order_configurations(dict(configurations)):
        for key, split in (("validation", "validation"), ("metrics", "test")):
            chosen = _choose_metrics(configurations[configuration].get(key, {}), suffix)
            if chosen:
                columns.append((configuration_title(configuration).capitalize(), split))
                figures.append(chosen)
    names = list(dict.fromkeys(name for chosen in figures for name in chosen))
    names.sort(key=lambda name: FIRST_METRICS.index(name) if name in FIRST_METRICS else len(FIRST_METRICS))
    rows = [
        (
            metric_title(name),
            [word_cell(name, read_estimate(chosen[name])) if name in chosen else EMPTY for chosen in figures],
        )
        for name in names
    ]
    return MetricTable(columns, rows)


def _choose_metrics(metrics: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    if suffix:
        return {name.removesuffix(suffix): metrics[name] for name in metrics if name.endswith(suffix)}
    plain_twins = {name for name in ("accuracy", "f1") if f"{name}_mean_plus_sd" in metrics}
    return {name: metrics[name] for name in metrics if not name.endswith(SECOND_NET) and name not in plain_twins}


def tabulate_counts(counts: Mapping[str, int], patients: Mapping[str, int]) -> dict[str, Any]:
    """Return how many images each split and class holds.

    Args:
        counts: images by `split/class`.
        patients: patients by split.

    Returns:
        `classes`, and `rows` of `(split, counts, total, share of normals, patients)`.
    """
    splits = _order({key.partition("/")[0] for key in counts}, ("train", "val", "test"))
    classes = _order({key.partition("/")[2] for key in counts}, THREE_CLASSES)
    rows = []
    for split in splits:
        of_class = [counts.get(f"{split}/{name}", 0) for name in classes]
        total = sum(of_class)
        share = f"{100 * counts.get(f'{split}/normal', 0) / total:.1f}%" if total else "-"
        rows.append((split or "not assigned", of_class, total, share, patients.get(split)))
    return {"classes": classes, "rows": rows}


def _order(names: set[str], known: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def tabulate_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings: those of the whole study, and those of each configuration side by side.

    Returns:
        `shared` as `(name, value)`, `configurations` as titles, and `rows` of `(name, values)`.
    """
    configurations = order_configurations({name for name, value in settings.items() if isinstance(value, Mapping)})
    shared = [
        (field_title(name), _word_setting(value)) for name, value in settings.items() if name not in configurations
    ]
    flat = {configuration: dict(_flatten(settings[configuration])) for configuration in configurations}
    names = list(dict.fromkeys(name for values in flat.values() for name in values))
    rows = [(name, [flat[configuration].get(name, "-") for configuration in configurations]) for name in names]
    return {
        "shared": shared,
        "configurations": [configuration_title(configuration).capitalize() for configuration in configurations],
        "rows": rows,
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name, value in settings.items():
        title = f"{prefix}{name.replace('_', ' ')}"
        flat += _flatten(value, f"{title}: ") if isinstance(value, Mapping) else [(title, _word_setting(value))]
    return flat


def _word_setting(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(_word_setting(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def tabulate_timing(timing: Mapping[str, float]) -> dict[str, Any]:
    """Return time by stage.

    Returns:
        `rows` of `(stage, time, share of the longest in percent)`, and `total`.
    """
    stages = {name: seconds for name, seconds in timing.items() if name != "total"}
    longest = max(stages.values(), default=0.0) or 1.0
    rows = [
        (name.replace("_", " ").replace("-", ", "), word_seconds(seconds), round(100 * seconds / longest, 1))
        for name, seconds in stages.items()
    ]
    return {"rows": rows, "total": word_seconds(timing.get("total", sum(stages.values())))}


def shorten_list(items: list[Any]) -> tuple[list[Any], int]:
    """Return the first of a long list, and how many were left out."""
    return items[:MOST_LISTED], max(len(items) - MOST_LISTED, 0)
