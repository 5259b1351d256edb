"""The content of `results.json`; `docs/reference/results_json.md` describes every field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.dataset import Dataset
from pneumoscope.io.json_file import to_plain
from pneumoscope.io.results import AnomalyResult, Classification, LearningCurve, Metrics, Neighbors
from pneumoscope.io.study_folder import CLASSIFICATIONS, order_configurations, split_stage
from pneumoscope.phantoms.phantom import shows_phantoms

SCHEMA_VERSION = "3.0"
DECISION_THRESHOLD = "quantile"
TASKS = (*CLASSIFICATIONS, "neighbors", "anomaly", "explain")


def summarize_study(
    stages: Mapping[str, Any],
    *,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    timing: Mapping[str, float],
    versions: Mapping[str, str],
    hardware: Mapping[str, Any],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of `results.json`, ready for `json.dumps`.

    Args:
        stages: results by stage name, such as `improved-binary` or `leakage`; missing stages are skipped.
        data: description of the collection, from `describe_data`.
        settings: settings by configuration, and common settings such as `seed`.
        timing: seconds by stage, and `total`.
        versions: version by package.
        hardware: `processor`, `cores`, `memory_gib`, `precision`.
        left_out: reason by task that was left out.
    """
    summary: dict[str, Any] = to_plain(
        {
            "schema_version": SCHEMA_VERSION,
            "research_use_only": RESEARCH_USE_ONLY,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "tasks": _summarize_tasks(stages),
            "left_out": left_out,
            "data": data,
            "settings": settings,
            "timing": timing,
            "versions": versions,
            "hardware": hardware,
            **({"leakage": stages["leakage"]} if "leakage" in stages else {}),
        }
    )
    return summary


def describe_data(dataset: Dataset, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` of `results.json`; `request` comes from the ledger of the study."""
    table, label_set = dataset.table, dataset.label_set
    counts = (table["split"] + "/" + table["label"]).value_counts().sort_index()
    if label_set.multi_label:
        present = pd.DataFrame(dataset.labels() == 1, columns=list(label_set.classes)).groupby(table["split"]).sum()
        counts = pd.Series({f"{split}/{name}": row[name] for split, row in present.iterrows() for name in row.index})
    patients = table.groupby("split")["patient"].nunique()
    return {
        "source": Path(request["source"]).name if request["source"] else "drawn phantoms",
        "phantoms": shows_phantoms(dataset),
        "label_set": label_set,
        "counts": {str(name): int(count) for name, count in counts.items()},
        "images": {str(split): int(count) for split, count in table["split"].value_counts().items()},
        "patients": {str(split): int(count) for split, count in patients.items()},
        "skipped": len(dataset.skipped),
        "sha256": request["data_sha256"],
    }


def _summarize_tasks(stages: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    by_configuration: dict[str, dict[str, Any]] = {}
    for stage, result in stages.items():
        configuration, name = split_stage(stage)
        by_configuration.setdefault(configuration, {})[name] = result
    by_configuration.pop("", None)
    tasks: dict[str, dict[str, Any]] = {task: {} for task in TASKS}
    for configuration in order_configurations(by_configuration):
        for task, entry in _summarize_configuration(by_configuration[configuration]).items():
            tasks[task][configuration] = entry
    return {task: entries for task, entries in tasks.items() if entries}


def _summarize_configuration(stages: dict[str, Any]) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {
        task: _summarize_classifier(stages[task]) for task in CLASSIFICATIONS if task in stages
    }
    parameters = {task: entry["parameters"] for task, entry in entries.items()}
    if any(f"neighbors_{task}" in stages for task in CLASSIFICATIONS):
        entries["neighbors"] = _summarize_neighbors(stages, parameters)
    if "anomaly" in stages:
        entries["anomaly"] = _summarize_anomaly(stages["anomaly"])
    if "explain" in stages:
        entries["explain"] = {
            "parameters": next(iter(parameters.values()), 0),
            "metrics": stages["explain"].metrics,
            "validation": {},
            "layers": stages["explain"].layers,
        }
    return entries


def _summarize_curve(curve: LearningCurve) -> dict[str, Any]:
    return {"chosen_epoch": curve.chosen_epoch, "epochs": len(curve.loss), "training_seconds": curve.seconds}


def _metrics_of(result: Classification | Neighbors, split: str) -> Metrics:
    return result.evaluations[split].metrics if split in result.evaluations else {}


def _summarize_classifier(result: Classification) -> dict[str, Any]:
    return {
        "parameters": result.parameters,
        "metrics": _metrics_of(result, "test"),
        "validation": _metrics_of(result, "val"),
        **_summarize_curve(result.curve),
        "confusion": {split: evaluation.confusion for split, evaluation in result.evaluations.items()},
        "label_set": result.label_set,
    }


def _summarize_neighbors(stages: dict[str, Any], parameters: dict[str, int]) -> dict[str, Any]:
    """Return the results of task 2; fields of a second, finer task have its name as suffix."""
    tasks = [task for task in CLASSIFICATIONS if f"neighbors_{task}" in stages]
    suffixes = {task: f"_{task}" if number else "" for number, task in enumerate(tasks)}
    entry: dict[str, Any] = {"parameters": parameters.get(tasks[0], 0), "metrics": {}, "validation": {}}
    for task in tasks:
        suffix, result = suffixes[task], stages[f"neighbors_{task}"]
        for target, split in (("metrics", "test"), ("validation", "val")):
            entry[target] |= {f"{name}{suffix}": estimate for name, estimate in _metrics_of(result, split).items()}
        entry["metrics"][f"agreement{suffix}"] = result.agreement
        for name in ("k", "k_scores", "model_right", "knn_right", "neither_right"):
            entry[f"{name}{suffix}"] = getattr(result, name)
    for task, suffix in suffixes.items():
        if f"map_{task}" in stages:
            for name in ("trustworthiness", "continuity", "knn_preservation"):
                entry[f"{name}{suffix}"] = getattr(stages[f"map_{task}"], name)
    return entry


def _summarize_anomaly(result: AnomalyResult) -> dict[str, Any]:
    # `accuracy` and `f1` repeat the metrics at the threshold from held-out normals: every task has an accuracy.
    plain = {name: f"{name}_{DECISION_THRESHOLD}" for name in ("accuracy", "f1")}
    named = {name: result.metrics[full] for name, full in plain.items() if full in result.metrics}
    return {
        "parameters": result.parameters,
        "metrics": {**named, **result.metrics},
        "validation": {},
        **({} if result.curve is None else _summarize_curve(result.curve)),
        "thresholds": result.thresholds,
        "decision_threshold": DECISION_THRESHOLD,
        "false_positive_rate": result.false_positive_rate,
    }
