"""An evaluation as one HTML file that works offline, as figures, and as JSON."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.results import CollectionEvaluation, EvaluatedImages, Scope
from pneumoscope.report import evaluation_sentences as sentences
from pneumoscope.report import evaluation_tables as tables
from pneumoscope.report.figures import evaluation as figures
from pneumoscope.report.figures.palette import PageFigure, save_page_figure
from pneumoscope.report.figures.scores import draw_confusion, draw_roc_and_precision
from pneumoscope.report.tables import Cell, make_cell
from pneumoscope.report.templates import write_page
from pneumoscope.report.wording import metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = "3.0"
IMAGE_FIELDS = ("name", "patient", "label", "positive", "probabilities", "decision", "reason", "in_distribution")
MAIN_METRICS = ("auroc", "sensitivity", "specificity", "accuracy", "balanced_accuracy", "macro_f1", "subset_accuracy")

# Each section is an entry here and a block in the template, if it was measured.
SECTIONS = {
    "overview": "Overview",
    "performance": "Performance",
    "classes": "All classes",
    "calibration": "Calibration",
    "conformal": "Conformal prediction",
    "selective": "Selective prediction",
    "rejections": "Rejected and uncertain images",
    "subgroups": "Subgroup performance",
    "confounders": "Confounders",
    "ood": "Out-of-distribution inputs",
    "label-shift": "Label shift",
    "missing": "Not measured",
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
    missing = _explain_missing(evaluation)
    return write_page(
        out_dir / "evaluation.html",
        "evaluation.html.j2",
        sections=_list_sections(evaluation, missing),
        phantoms=False,
        written=document["written"][:10],
        command=command,
        evaluation=evaluation,
        collection=_describe_collection(evaluation),
        headline=sentences.write_headline(evaluation),
        tiles=_list_tiles(evaluation),
        texts=sentences.write_paragraphs(evaluation),
        tables=tables.tabulate_evaluation(evaluation),
        figures=_draw_figures(evaluation, out_dir / "figures"),
        missing=missing,
        lists=_list_images(evaluation),
    )


def _list_sections(evaluation: CollectionEvaluation, missing: dict[str, str]) -> dict[str, str]:
    titles = SECTIONS | ({"classes": "Findings"} if evaluation.images.label_set.multi_label else {})
    empty = {*missing} if missing else {"missing"}
    if not evaluation.scopes["all"].ranking:
        empty.add("performance")
    return {name: title for name, title in titles.items() if name not in empty}


def _explain_missing(evaluation: CollectionEvaluation) -> dict[str, str]:
    """Return why a section is missing, by section."""
    reasons = {
        "conformal": "These models have no conformal limit. Export them again to obtain prediction sets.",
        "label_shift": "There are too few images to estimate class shares.",
        "confounders": "Confounders were not measured: fewer than ten images of a class, or option --no-confounders.",
        "ood_check": "Out-of-distribution inputs were not measured.",
    }
    sections = {"label_shift": "label-shift", "ood_check": "ood"}
    absent = {sections.get(name, name): reasons[name] for name in reasons if getattr(evaluation, name) is None}
    return absent | evaluation.notes


def summarize_evaluation(evaluation: CollectionEvaluation, *, command: str = "") -> dict[str, Any]:
    """Return the content of `evaluation.json`: all metrics, and a row for each image."""
    plain: dict[str, Any] = dict(vars(evaluation))
    plain["scopes"] = {name: _summarize_scope(scope) for name, scope in evaluation.scopes.items()}
    plain["label_shift"] = evaluation.label_shift and evaluation.label_shift.shares
    label_set, *columns = (getattr(evaluation.images, field.name) for field in fields(EvaluatedImages))
    plain["images"] = [dict(zip(IMAGE_FIELDS, row, strict=True)) for row in zip(*columns, strict=True)]
    head = {
        "schema_version": SCHEMA_VERSION,
        "research_use_only": RESEARCH_USE_ONLY,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "pneumoscope": __version__,
        "command": command,
        "label_set": asdict(label_set),
    }
    document: dict[str, Any] = to_plain({**head, **plain})
    return document


def _summarize_scope(scope: Scope) -> dict[str, Any]:
    result = scope.classes
    return {**vars(scope), "classes": result and {"confusion": result.confusion, "metrics": result.metrics}}


def _describe_collection(evaluation: CollectionEvaluation) -> dict[str, str]:
    scope, thresholds = evaluation.scopes["all"], evaluation.thresholds.get(evaluation.operating_point, {})
    point = evaluation.operating_point if thresholds else "none, the decision is the most probable class"
    if len(thresholds) == 1:
        point += f", threshold {next(iter(thresholds.values())):.3f}"
    return {
        "Collection": evaluation.source,
        "Split": evaluation.split,
        "Images, patients": f"{scope.num_images:,}, {scope.num_patients:,}",
        "Excluded, unreadable": f"{len(evaluation.left_out):,}, {len(evaluation.unreadable):,}",
        "Operating point": point,
        "Model": evaluation.model,
    }


def _list_tiles(evaluation: CollectionEvaluation) -> list[dict[str, str | Cell]]:
    main, hidden = evaluation.main_metrics(), evaluation.confounders
    section = "performance" if evaluation.scopes["all"].ranking else "classes"
    tiles = [(section, name, metric_title(name), main[name]) for name in MAIN_METRICS if name in main]
    if "classes_accuracy" in main:
        tiles.append(("classes", "accuracy", metric_title("classes_accuracy"), main["classes_accuracy"]))
    tiles += [
        ("calibration", "share", f"ECE, {figures.name_task(evaluation, task)}", main[f"calibration_error_{task}"])
        for task in evaluation.reliability
        if f"calibration_error_{task}" in main
    ]
    if hidden:
        tiles.append(("confounders", "auroc", "AUROC, lungs hidden", hidden.metrics["lung_area_hidden"]["auroc"]))
    tiles += [("rejections", name, name.capitalize(), main[name]) for name in ("rejected", "uncertain") if name in main]
    return [
        {"section": section, "title": title, "cell": make_cell(name, value, counted=True)}
        for section, name, title, value in tiles
    ]


def _list_images(evaluation: CollectionEvaluation) -> dict[str, dict[str, list[str]]]:
    """Return lists of images by section and title."""
    images = evaluation.images
    rejected = np.flatnonzero(images.decisions == "rejected")
    return {
        "performance" if evaluation.scopes["all"].ranking else "classes": _list_errors(evaluation),
        "rejections": {"Rejected images": [f"{images.names[row]}: {images.reasons[row]}" for row in rejected]},
        "excluded": {
            "Unreadable files": [f"{entry['name']}: {entry['reason']}" for entry in evaluation.unreadable],
            "Excluded files": [entry["name"] for entry in evaluation.left_out],
        },
    }


def _list_errors(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    """Return the misclassified images of a single-label set, the most certain errors first."""
    images, label_set = evaluation.images, evaluation.images.label_set
    if label_set.multi_label:
        return {}
    if label_set.positive is None:
        highest, predicted = images.probabilities.max(axis=1), images.probabilities.argmax(axis=1)
        errors = [row for row in np.argsort(-highest, kind="stable") if predicted[row] != images.labels[row]]
        return {
            "Misclassified images": [
                f"{images.names[row]}: {label_set.classes[images.labels[row]]}, predicted {images.decisions[row]} "
                f"({highest[row]:.3f})"
                for row in errors
            ]
        }
    scores, threshold = images.scores, evaluation.thresholds[evaluation.operating_point][label_set.positive]
    ranked = np.argsort(scores, kind="stable")
    rows = {
        "False negatives": [row for row in ranked if images.positive[row] == 1 and scores[row] < threshold],
        "False positives": [row for row in ranked[::-1] if images.positive[row] == 0 and scores[row] >= threshold],
    }
    return {
        title: [f"{images.names[row]}: probability {scores[row]:.3f}, {images.decisions[row]}" for row in of_title]
        for title, of_title in rows.items()
    }


def _draw_figures(evaluation: CollectionEvaluation, figures_dir: Path) -> dict[str, list[PageFigure]]:
    """Return the figures of each section."""
    scope = evaluation.scopes["all"]
    rows = "Rows are true classes, columns are predicted classes."
    curves = "Each class against the others. Dots: decisions by the most probable class."
    if evaluation.images.label_set.multi_label:
        rows = "Shares of the images with and without each finding."
        curves = "One curve per finding. Dots: decisions at its threshold."
    shown: dict[str, list[PageFigure]] = {}

    def add(name: str, figure: Figure, caption: str, *, wide: bool = False) -> None:
        page_figure = save_page_figure(figure, figures_dir / name, caption=caption, wide=wide)
        shown.setdefault(name.partition("-")[0], []).append(page_figure)

    if scope.ranking:
        figure = figures.draw_operating_points(evaluation, title="ROC")
        add("performance", figure, "Operating points with 95% intervals.")
    if scope.classes:
        add("classes", draw_confusion(scope.classes, title="Confusion matrix"), rows)
        if not scope.ranking:
            add("classes-curves", draw_roc_and_precision(scope.classes, title="ROC and precision-recall"), curves)
    figure = figures.draw_reliability(evaluation, title="Reliability diagram")
    add("calibration", figure, "Dotted line: perfect calibration. Bars: number of images.", wide=True)
    if evaluation.subgroups:
        figure = figures.draw_subgroups(evaluation, title="Subgroups")
        add("subgroups", figure, "Brackets contain the number of images.", wide=True)
    return shown
