"""A study as the plain values of `GET /api/study`: every image's score and truth, curves, tables with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app.study_folder import OpenStudy
from pneumoscope.archive import to_plain
from pneumoscope.evaluation.operating_points import choose_operating_points
from pneumoscope.report import sentences
from pneumoscope.report.tables import SECOND_NET, MetricTable, tabulate_metrics
from pneumoscope.report.wording import TASK_TITLES, metric_title, profile_title
from pneumoscope.results import AnomalyResult, Classification, Evaluation
from pneumoscope.study_summary import order_profiles, split_stage, summarize_study

SPLITS = ("val", "test")
NETS = ("binary", "three_class")
THRESHOLD_TITLES = {"mean_plus_sd": "mean + 1 sd", "quantile": "quantile"}


@dataclass(frozen=True)
class SplitImages:
    """The images of one split that any evaluation tells of; their place here is their number.

    Attributes:
        names: `n` str, path of each below the collection's root.
        patients: `n` int, images of one child share a number.
        subtypes: `n` str, the class as finely as the study knows it.
    """

    names: list[str]
    patients: list[int]
    subtypes: list[str]

    def find(self, names: np.ndarray) -> list[int]:
        """Return the number of each name."""
        numbers = {name: number for number, name in enumerate(self.names)}
        return [numbers[name] for name in names.tolist()]


def number_images(study: OpenStudy) -> dict[str, SplitImages]:
    """Return the images of `val` and `test`, numbered in the order of the study's data set.

    Nets of one study share their splits, but 1.B knows only the images whose sub-type is told.
    """
    numbered = {}
    for split in SPLITS:
        patients: dict[str, str] = {}
        truth: dict[str, str] = {}
        for kind in NETS:
            for result in study.of_kind(kind).values():
                evaluation = result.evaluations.get(split)
                if evaluation is not None:
                    patients |= dict(zip(evaluation.names.tolist(), evaluation.patients.tolist(), strict=True))
                    classes = [evaluation.classes[label] for label in evaluation.labels]
                    truth |= dict(zip(evaluation.names.tolist(), classes, strict=True))
        units = {patient: number for number, patient in enumerate(dict.fromkeys(patients.values()))}
        numbered[split] = SplitImages(
            list(patients), [units[patients[name]] for name in patients], list(truth.values())
        )
    return numbered


def describe_study(study: OpenStudy, images: Mapping[str, SplitImages], *, phantoms: bool) -> dict[str, Any]:
    """Return what the page shows of a study, ready for `json.dumps`.

    Args:
        study: the study.
        images: see `number_images`.
        phantoms: whether the images are drawn phantoms.
    """
    timing = dict.fromkeys(study.stages, 0.0)
    empty: dict[str, Any] = {"settings": {}, "timing": timing, "versions": {}, "hardware": {}}
    results = summarize_study(study.stages, data={"phantoms": phantoms}, **empty)
    profiles = {split_stage(name)[0] for name in (*study.stages, *study.missing, *study.damaged)} - {""}
    return {
        "notice": RESEARCH_USE_ONLY,
        "version": __version__,
        "study": {
            "name": study.folder.resolve().name,
            "source": _name_source(study),
            "phantoms": phantoms,
            "seed": to_plain(study.request.get("seed")),
            "epochs": to_plain(study.request.get("epochs")),
            "finished": not study.missing and not study.damaged and bool(study.of_kind("binary")),
            "missing": [_title_stage(name) for name in study.missing],
            "damaged": [{**_title_stage(name), "reason": reason} for name, reason in study.damaged.items()],
        },
        "profiles": [{"name": name, "title": profile_title(name)} for name in order_profiles(profiles)],
        "splits": {
            split: {"names": found.names, "patients": found.patients, "subtypes": found.subtypes}
            for split, found in images.items()
        },
        "nets": [
            _describe_net(profile, kind, result, images)
            for kind in NETS
            for profile, result in study.of_kind(kind).items()
        ],
        "anomalies": [_describe_anomaly(name, result, images) for name, result in study.of_kind("anomaly").items()],
        "tables": _tabulate_tasks(results["tasks"]),
    }


def _name_source(study: OpenStudy) -> str:
    source = study.request.get("source")
    return str(source).rstrip("/").rpartition("/")[2] if source else "drawn phantoms"


def _title_stage(name: str) -> dict[str, str]:
    profile, kind = split_stage(name)
    return {"stage": name, "profile": profile, "task": kind, "title": _title(profile, kind)}


def _title(profile: str, kind: str) -> str:
    title = TASK_TITLES.get(kind, kind.replace("_", " "))
    return f"{title}, {profile_title(profile)}" if profile else title


def _describe_net(profile: str, kind: str, result: Classification, images: Mapping[str, SplitImages]) -> dict[str, Any]:
    return {
        "id": f"{profile}-{kind}",
        "profile": profile,
        "task": kind,
        "title": _title(profile, kind),
        "classes": list(result.classes),
        "parameters": result.parameters,
        "curve": to_plain(asdict(result.curve)),
        "operating_points": _choose_points(result),
        "evaluations": {
            split: _describe_evaluation(evaluation, images[split])
            for split, evaluation in result.evaluations.items()
            if split in images
        },
    }


def score_pneumonia(evaluation: Evaluation) -> np.ndarray:
    """Return `(n,)` float64 in [0, 1], how probable a pneumonia of any kind is.

    The classes after the first are its kinds, so that a net of three classes gives p(bacterial) + p(viral).
    """
    return np.minimum(evaluation.probabilities[:, 1:].astype(np.float64).sum(axis=1), 1.0)


def _choose_points(result: Classification) -> dict[str, float]:
    evaluation = result.evaluations.get("val")
    if evaluation is None or len(set((evaluation.labels > 0).tolist())) < 2:
        return {}
    return choose_operating_points((evaluation.labels > 0).astype(np.int64), score_pneumonia(evaluation))


def _describe_evaluation(evaluation: Evaluation, images: SplitImages) -> dict[str, Any]:
    return {
        "images": images.find(evaluation.names),
        "labels": evaluation.labels.tolist(),
        "probabilities": evaluation.probabilities.tolist(),
        "scores": score_pneumonia(evaluation).tolist(),
        "confusion": evaluation.confusion.tolist(),
        "metrics": _describe_metrics(evaluation.metrics),
    }


def _describe_metrics(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"title": metric_title(name), **to_plain(estimate)} for name, estimate in metrics.items()}


def _describe_anomaly(profile: str, result: AnomalyResult, images: Mapping[str, SplitImages]) -> dict[str, Any]:
    test = images["test"]
    # The model keeps no names: its images are those of the split where their number and classes agree.
    same = len(result.scores) == len(test.names) and all(
        (subtype == "normal") == (label == 0) for subtype, label in zip(test.subtypes, result.labels, strict=True)
    )
    held_out = [number for number, subtype in enumerate(images["val"].subtypes) if subtype == "normal"]
    return {
        "id": f"{profile}-anomaly",
        "profile": profile,
        "title": _title(profile, "anomaly"),
        "redraws": result.reconstructions is not None,
        "parameters": result.parameters,
        "curve": to_plain(result.curve),
        "thresholds": {
            name: {"title": THRESHOLD_TITLES.get(name, name), "value": value}
            for name, value in to_plain(result.thresholds).items()
        },
        "false_alarm_rate": result.false_positive_rate,
        "direction": sentences.write_direction(result.metrics),
        "metrics": _describe_metrics(result.metrics),
        "validation": {
            "images": held_out if len(held_out) == len(result.validation_scores) else None,
            "errors": to_plain(result.validation_scores),
        },
        "test": {
            "images": list(range(len(test.names))) if same else None,
            "errors": to_plain(result.scores),
            "labels": result.labels.tolist(),
            "subtypes": result.subtypes.tolist(),
        },
    }


def _tabulate_tasks(tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = [(task, title, tabulate_metrics(tasks[task])) for task, title in TASK_TITLES.items() if task in tasks]
    if "neighbors" in tasks:
        place = [task for task, _, _ in tables].index("neighbors")
        table = tabulate_metrics(tasks["neighbors"], suffix=SECOND_NET)
        tables.insert(place + 1, ("neighbors_three_class", f"{TASK_TITLES['neighbors']}, three classes", table))
    return [{"task": task, "title": title, **_describe_table(table)} for task, title, table in tables if table.rows]


def _describe_table(table: MetricTable) -> dict[str, Any]:
    return {
        "columns": [{"profile": profile, "split": split} for profile, split in table.columns],
        "rows": [
            {"title": title, "cells": [{"value": cell.value, "interval": cell.interval} for cell in cells]}
            for title, cells in table.rows
        ],
    }
