"""An evaluation as one HTML file that works offline, as figures, and as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.results import CollectionEvaluation, Estimate, EvaluatedImages, Scope
from pneumoscope.report import evaluation_sentences as sentences
from pneumoscope.report import evaluation_tables as tables
from pneumoscope.report.figures import evaluation as figures
from pneumoscope.report.figures.palette import PageFigure, save_page_figure
from pneumoscope.report.figures.scores import draw_confusion, draw_roc_and_precision
from pneumoscope.report.tables import Cell, Table, make_cell
from pneumoscope.report.templates import write_page
from pneumoscope.report.wording import metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = "3.0"
IMAGE_FIELDS = ("name", "patient", "label", "positive", "probabilities", "decision", "reason", "in_distribution")

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
    scope = evaluation.scopes["all"]
    return write_page(
        out_dir / "evaluation.html",
        "evaluation.html.j2",
        sections=_list_sections(evaluation),
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
        about=sentences.write_about(evaluation),
        missing=_explain_missing(evaluation),
        errors=_list_errors(evaluation),
        rejected=_list_rejected(evaluation),
    )


def _list_sections(evaluation: CollectionEvaluation) -> dict[str, str]:
    titles = {**SECTIONS, **({"classes": "Findings"} if evaluation.images.label_set.multi_label else {})}
    missing = _explain_missing(evaluation)
    empty = {
        *missing,
        *([] if missing else ["missing"]),
        *([] if evaluation.scopes["all"].ranking else ["performance"]),
    }
    return {name: title for name, title in titles.items() if name not in empty}


def _explain_missing(evaluation: CollectionEvaluation) -> dict[str, str]:
    """Return why a section is missing, by section."""
    absent = {
        "conformal": evaluation.conformal is None
        and "These models have no conformal limit. Export them again to obtain prediction sets.",
        "label-shift": evaluation.label_shift is None and "There are too few images to estimate class shares.",
        "confounders": evaluation.confounders is None
        and "Confounders were not measured: fewer than ten images of a class, or option --no-confounders.",
        "ood": evaluation.ood_check is None and "Out-of-distribution inputs were not measured.",
    }
    return {name: reason for name, reason in absent.items() if reason} | evaluation.notes


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


def _describe_collection(evaluation: CollectionEvaluation, scope: Scope) -> dict[str, str]:
    thresholds = evaluation.thresholds.get(evaluation.operating_point, {})
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


def _list_sentences(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    hidden = evaluation.confounders
    return {
        "overview": sentences.write_verdict(evaluation),
        "performance": sentences.write_points(evaluation),
        "classes": sentences.write_classes(evaluation),
        "calibration": sentences.write_calibration(evaluation),
        "conformal": [sentences.write_conformal(evaluation)],
        "rejections": sentences.write_rejections(evaluation),
        "confounders": sentences.write_confounders(hidden) if hidden else [],
        "label-shift": sentences.write_label_shift(evaluation),
        "limitations": sentences.write_limitations(evaluation),
    }


def _list_tables(evaluation: CollectionEvaluation) -> dict[str, list[Table]]:
    hidden, ood = evaluation.confounders, evaluation.ood_check
    return {
        "performance": tables.tabulate_points(evaluation),
        "classes": tables.tabulate_classes(evaluation),
        "calibration": [tables.tabulate_calibration(evaluation)],
        "conformal": [tables.tabulate_conformal(evaluation)],
        "selective": tables.tabulate_selective(evaluation),
        "rejections": tables.tabulate_rejections(evaluation),
        "subgroups": tables.tabulate_subgroups(evaluation),
        "confounders": tables.tabulate_confounders(hidden) if hidden else [],
        "ood": [tables.tabulate_ood(ood)] if ood else [],
        "label-shift": [tables.tabulate_shares(evaluation)],
        "excluded": [tables.tabulate_left_out(evaluation)],
    }


def _list_tiles(evaluation: CollectionEvaluation) -> list[dict[str, str | Cell]]:
    main, hidden = evaluation.main_metrics(), evaluation.confounders
    section = "performance" if evaluation.scopes["all"].ranking else "classes"
    names = ("auroc", "sensitivity", "specificity", "accuracy", "balanced_accuracy", "macro_f1", "subset_accuracy")
    metrics: list[tuple[str, str, str, Estimate]] = [
        (section, name, metric_title(name), main[name]) for name in names if name in main
    ]
    if "classes_accuracy" in main:
        metrics.append(("classes", "accuracy", metric_title("classes_accuracy"), main["classes_accuracy"]))
    if not evaluation.images.label_set.multi_label:
        for task, reliability in evaluation.reliability.items():
            title = f"ECE, {figures.name_task(evaluation, task)}"
            metrics.append(("calibration", "share", title, reliability.error))
    if hidden:
        metrics.append(("confounders", "auroc", "AUROC, lungs hidden", hidden.metrics["lung_area_hidden"]["auroc"]))
    metrics += [
        ("rejections", "share", name.capitalize(), main[name]) for name in ("rejected", "uncertain") if name in main
    ]
    return [
        {"section": section, "title": title, "cell": make_cell(name, value, counted=True)}
        for section, name, title, value in metrics
    ]


def _list_rejected(evaluation: CollectionEvaluation) -> list[str]:
    images = evaluation.images
    rows = np.flatnonzero(images.decisions == "rejected")
    return [f"{images.names[row]}: {images.reasons[row]}" for row in rows]


def _list_errors(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    """Return the misclassified images of a single-label set, the most certain errors first."""
    images, label_set = evaluation.images, evaluation.images.label_set
    if label_set.multi_label:
        return {}
    if label_set.positive is None:
        highest, predicted = images.probabilities.max(axis=1), images.probabilities.argmax(axis=1)
        rows = [row for row in np.argsort(-highest, kind="stable") if predicted[row] != images.labels[row]]
        listed = (f"{label_set.classes[images.labels[row]]}, predicted {images.decisions[row]}" for row in rows)
        found = [f"{images.names[row]}: {text} ({highest[row]:.3f})" for row, text in zip(rows, listed, strict=True)]
        return {"Misclassified images": found}
    threshold = evaluation.thresholds[evaluation.operating_point][label_set.positive]
    probabilities = images.scores
    ranked = np.argsort(probabilities, kind="stable")
    negatives = [row for row in ranked if images.positive[row] == 1 and probabilities[row] < threshold]
    positives = [row for row in ranked[::-1] if images.positive[row] == 0 and probabilities[row] >= threshold]
    return {
        title: [f"{images.names[row]}: probability {probabilities[row]:.3f}, {images.decisions[row]}" for row in rows]
        for title, rows in (("False negatives", negatives), ("False positives", positives))
    }


def _draw_figures(evaluation: CollectionEvaluation, figures_dir: Path) -> dict[str, list[PageFigure]]:
    """Return the figures of each section."""
    scope, roc = evaluation.scopes["all"], evaluation.scopes["all"].ranking
    bars = "Dotted line: perfect calibration. Bars: number of images."
    rows = "Rows are true classes, columns are predicted classes."
    curves = "Each class against the others. Dots: decisions by the most probable class."
    if evaluation.images.label_set.multi_label:
        rows = "Shares of the images with and without each finding."
        curves = "One curve per finding. Dots: decisions at its threshold."
    brackets = "Brackets contain the number of images."
    one_class = None if roc else scope.classes
    plans: list[tuple[str, str, str, Callable[..., Figure], Any]] = [
        (
            "performance",
            "ROC",
            "Operating points with 95% intervals.",
            figures.draw_operating_points,
            evaluation if roc else None,
        ),
        ("classes", "Confusion matrix", rows, draw_confusion, scope.classes),
        ("classes-curves", "ROC and precision-recall", curves, draw_roc_and_precision, one_class),
        ("calibration", "Reliability diagram", bars, figures.draw_reliability, evaluation),
        ("subgroups", "Subgroups", brackets, figures.draw_subgroups, evaluation if evaluation.subgroups else None),
    ]
    wide = ("calibration", "subgroups")
    shown: dict[str, list[PageFigure]] = {}
    for name, title, caption, draw, result in plans:
        if result is not None:
            drawn = draw(result, title=title)
            one = save_page_figure(drawn, figures_dir / name, caption=caption, wide=name in wide)
            shown.setdefault(name.partition("-")[0], []).append(one)
    return shown
