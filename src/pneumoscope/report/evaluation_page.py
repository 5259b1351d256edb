"""An evaluation as one HTML file that works offline, as figures, and as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.results import CollectionEvaluation, Estimate, Scope
from pneumoscope.report import evaluation_sentences as sentences
from pneumoscope.report import evaluation_tables as tables
from pneumoscope.report.figures import evaluation as figures
from pneumoscope.report.figures.confounders import draw_confounders
from pneumoscope.report.figures.palette import PageFigure, save_page_figure
from pneumoscope.report.figures.scores import draw_confusion
from pneumoscope.report.tables import Cell, Table, make_cell
from pneumoscope.report.templates import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = "2.0"
IMAGE_FIELDS = ("name", "patient", "label", "subtype", "probabilities", "decision", "reason", "in_distribution")

# Each section is an entry here and a block in the template.
SECTIONS = {
    "overview": "Overview",
    "performance": "Performance",
    "three-class": "Bacterial versus viral pneumonia",
    "calibration": "Calibration",
    "conformal": "Conformal prediction",
    "selective": "Selective prediction",
    "rejections": "Rejected and uncertain images",
    "subgroups": "Subgroup performance",
    "confounders": "Confounders",
    "ood": "Out-of-distribution inputs",
    "label-shift": "Label shift",
    "excluded": "Excluded files",
    "limitations": "Limitations",
    "methods": "Methods",
}


def write_evaluation(evaluation: CollectionEvaluation, out_dir: str | os.PathLike[str], *, command: str = "") -> Path:
    """Write `evaluation.html`, `evaluation.json` and the figures.

    Args:
        evaluation: the results.
        out_dir: output folder; files of an earlier evaluation are replaced.
        command: command line of the evaluation, shown on the page.

    Returns:
        Path of `evaluation.html`.
    """
    out_dir = Path(out_dir)
    document = summarize_evaluation(evaluation, command=command)
    write_json(out_dir / "evaluation.json", document)
    scope = evaluation.scopes["all"]
    return write_page(
        out_dir / "evaluation.html",
        "evaluation.html.j2",
        sections=SECTIONS,
        phantoms=False,
        written=document["written"][:10],
        command=command,
        evaluation=evaluation,
        num_images=scope.num_images,
        collection=_describe_collection(evaluation, scope),
        headline=sentences.write_headline(evaluation),
        corrected=sentences.write_corrected(evaluation),
        tiles=_list_tiles(evaluation),
        texts=_list_sentences(evaluation),
        tables=_list_tables(evaluation),
        figures=_draw_figures(evaluation, out_dir / "figures"),
        errors=_list_errors(evaluation),
        rejected=_list_rejected(evaluation),
    )


def summarize_evaluation(evaluation: CollectionEvaluation, *, command: str = "") -> dict[str, Any]:
    """Return the content of `evaluation.json`: all metrics, and a row for each image."""
    plain: dict[str, Any] = dict(vars(evaluation))
    plain["scopes"] = {name: _summarize_scope(scope) for name, scope in evaluation.scopes.items()}
    plain["label_shift"] = evaluation.label_shift and evaluation.label_shift.shares
    columns = vars(evaluation.images).values()
    plain["images"] = [dict(zip(IMAGE_FIELDS, row, strict=True)) for row in zip(*columns, strict=True)]
    head = {
        "schema_version": SCHEMA_VERSION,
        "research_use_only": RESEARCH_USE_ONLY,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "pneumoscope": __version__,
        "command": command,
    }
    document: dict[str, Any] = to_plain({**head, **plain})
    return document


def _summarize_scope(scope: Scope) -> dict[str, Any]:
    result = scope.three_class
    three_class = result and {"classes": result.classes, "confusion": result.confusion, "metrics": result.metrics}
    return {**vars(scope), "three_class": three_class}


def _describe_collection(evaluation: CollectionEvaluation, scope: Scope) -> dict[str, str]:
    point = evaluation.operating_point
    return {
        "Collection": evaluation.source,
        "Split": evaluation.split,
        "Images, patients": f"{scope.num_images:,}, {scope.num_patients:,}",
        "Excluded, unreadable": f"{len(evaluation.left_out):,}, {len(evaluation.unreadable):,}",
        "Operating point": f"{point}, threshold {evaluation.thresholds[point]:.3f}",
        "Models": evaluation.model,
    }


def _list_sentences(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    hidden, ood = evaluation.confounders, evaluation.ood_check
    missing = "Confounders were not measured: fewer than ten images of a class, or option --no-confounders."
    return {
        "overview": sentences.write_verdict(evaluation),
        "performance": [
            f"The operating points {' and '.join(names)} have the same threshold."
            for names in _list_equal_points(evaluation.thresholds)
        ],
        "three-class": [sentences.write_three_class(evaluation)],
        "calibration": sentences.write_calibration(evaluation),
        "conformal": [sentences.write_conformal(evaluation)],
        "selective": [sentences.write_selective(evaluation)],
        "rejections": sentences.write_rejections(evaluation),
        "subgroups": [sentences.write_error_runs(evaluation)],
        "confounders": sentences.write_confounders(hidden) if hidden else [missing],
        "ood": sentences.write_ood(ood) if ood else ["Out-of-distribution inputs were not measured."],
        "label-shift": sentences.write_label_shift(evaluation),
        "limitations": sentences.write_limitations(evaluation),
    }


def _list_equal_points(thresholds: dict[str, float]) -> list[list[str]]:
    """Return the names of operating points that share a threshold."""
    values = dict.fromkeys(thresholds.values())
    groups = [[name for name, value in thresholds.items() if value == shared] for shared in values]
    return [names for names in groups if len(names) > 1]


def _list_tables(evaluation: CollectionEvaluation) -> dict[str, list[Table]]:
    hidden, ood = evaluation.confounders, evaluation.ood_check
    return {
        "performance": tables.tabulate_points(evaluation),
        "three-class": [tables.tabulate_three_class(evaluation)],
        "calibration": [tables.tabulate_calibration(evaluation)],
        "conformal": [tables.tabulate_conformal(evaluation)],
        "selective": [tables.tabulate_selective(evaluation)],
        "rejections": tables.tabulate_rejections(evaluation),
        "subgroups": [*tables.tabulate_subgroups(evaluation), tables.tabulate_error_runs(evaluation)],
        "confounders": tables.tabulate_confounders(hidden) if hidden else [],
        "ood": [tables.tabulate_ood(ood)] if ood else [],
        "label-shift": [tables.tabulate_shares(evaluation)],
        "excluded": [tables.tabulate_left_out(evaluation)],
    }


def _list_tiles(evaluation: CollectionEvaluation) -> list[dict[str, str | Cell]]:
    scope, hidden = evaluation.scopes["all"], evaluation.confounders
    point, three_class = scope.points[evaluation.operating_point], scope.three_class
    metrics: list[tuple[str, str, str, Estimate]] = [
        ("performance", "auroc", "AUROC", scope.ranking["auroc"]),
        *(("performance", name, name.capitalize(), point[name]) for name in ("sensitivity", "specificity", "accuracy")),
    ]
    if three_class:
        metrics.append(("three-class", "accuracy", "Accuracy, three classes", three_class.metrics["accuracy"]))
    for task, reliability in evaluation.reliability.items():
        metrics.append(("calibration", "share", f"ECE, {figures.TASK_NAMES[task]}", reliability.error))
    if hidden:
        metrics.append(("confounders", "auroc", "AUROC, lungs hidden", hidden.metrics["lung_area_hidden"]["auroc"]))
    metrics.append(("rejections", "share", "Rejected", evaluation.rejections.rejected["all"]))
    metrics.append(("rejections", "share", "Uncertain", evaluation.rejections.uncertain["all"]))
    return [
        {"section": section, "title": title, "cell": make_cell(name, value, counted=True)}
        for section, name, title, value in metrics
    ]


def _list_rejected(evaluation: CollectionEvaluation) -> list[str]:
    images = evaluation.images
    rows = np.flatnonzero(images.decisions == "rejected")
    return [f"{images.names[row]}: {images.reasons[row]}" for row in rows]


def _list_errors(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    """Return false negatives and false positives, sorted by their distance from the threshold."""
    images, threshold = evaluation.images, evaluation.thresholds[evaluation.operating_point]
    probabilities = 1 - images.probabilities[:, 0]
    ranked = np.argsort(probabilities, kind="stable")
    negatives = [row for row in ranked if images.labels[row] == 1 and probabilities[row] < threshold]
    positives = [row for row in ranked[::-1] if images.labels[row] == 0 and probabilities[row] >= threshold]
    return {
        title: [f"{images.names[row]}: probability {probabilities[row]:.3f}, {images.decisions[row]}" for row in rows]
        for title, rows in (("False negatives", negatives), ("False positives", positives))
    }


def _draw_figures(evaluation: CollectionEvaluation, figures_dir: Path) -> dict[str, PageFigure]:
    """Return the figure of each section."""
    grouped = evaluation if evaluation.subgroups else None
    bars = "Dotted line: perfect calibration. Bars: number of images."
    plans: list[tuple[str, str, str, Callable[..., Figure], Any]] = [
        ("performance", "ROC", "Operating points with 95% intervals.", figures.draw_operating_points, evaluation),
        (
            "three-class",
            "Confusion matrix",
            "Rows are true classes, columns are predicted classes.",
            draw_confusion,
            evaluation.scopes["all"].three_class,
        ),
        ("calibration", "Reliability diagram", bars, figures.draw_reliability, evaluation),
        (
            "conformal",
            "Prediction sets",
            "Left: coverage by true class. Right: number of classes in a prediction set.",
            figures.draw_coverage,
            evaluation.conformal,
        ),
        (
            "selective",
            "Accuracy by coverage",
            "Accuracy of the most certain images.",
            figures.draw_selective,
            evaluation,
        ),
        ("subgroups", "Subgroups", "Brackets contain the number of images.", figures.draw_subgroups, grouped),
        ("confounders", "Confounders", "Dotted line: unchanged images.", draw_confounders, evaluation.confounders),
    ]
    wide = ("calibration", "conformal", "subgroups", "confounders")
    return {
        name: save_page_figure(draw(shown, title=title), figures_dir / name, caption=caption, wide=name in wide)
        for name, title, caption, draw, shown in plans
        if shown is not None
    }
