"""An evaluation for a reader: one HTML file that opens with no network, its figures, and the same as JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.json_file import to_plain
from pneumoscope.io.results import CollectionEvaluation, Estimate, Scope
from pneumoscope.io.write import write_text
from pneumoscope.report import evaluation_sentences as sentences
from pneumoscope.report import evaluation_tables as tables
from pneumoscope.report.confounders_section import present_shortcuts
from pneumoscope.report.figures import evaluation as figures
from pneumoscope.report.figures.palette import embed_svg, save_figure
from pneumoscope.report.figures.scores import describe_confusion, draw_confusion
from pneumoscope.report.ood_section import present_gate
from pneumoscope.report.templates import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = "1.1"
IMAGE_FIELDS = ("name", "patient", "label", "subtype", "probabilities", "decision", "reason", "in_domain")

# A section is one entry here and one block of the same name in the template.
SECTIONS = {
    "overview": "What came out",
    "points": "Normal or pneumonia",
    "three-class": "Normal, bacterial or viral",
    "subgroups": "Whom the models fail",
    "shortcuts": "What is told without lungs",
    "calibration": "Do probabilities mean what they say?",
    "conformal": "Sets that promise to hold the truth",
    "selective": "Answering only what is sure",
    "gate": "What is refused or left open",
    "wrong-inputs": "What the gate makes of wrong inputs",
    "prior-shift": "How frequent the classes are",
    "left-out": "What was not read",
    "limits": "Limits",
    "methods": "Methods and sources",
}


def write_evaluation(evaluation: CollectionEvaluation, out_dir: str | os.PathLike[str], *, command: str = "") -> Path:
    """Write `evaluation.html`, `evaluation.json` and the figures.

    Args:
        evaluation: what was found.
        out_dir: where to; files of an earlier evaluation are replaced.
        command: what it was made by, for the record.

    Returns:
        Path of `evaluation.html`.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    document = summarize_evaluation(evaluation, command=command)
    write_text(out_dir / "evaluation.json", json.dumps(document, indent=2))
    return _write_page(evaluation, document, out_dir)


def summarize_evaluation(evaluation: CollectionEvaluation, *, command: str = "") -> dict[str, Any]:
    """Return the content of `evaluation.json`, ready for `json.dumps`: every figure, and a row for each image."""
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
    return to_plain({**head, **plain})


def _summarize_scope(scope: Scope) -> dict[str, Any]:
    told = scope.three_class
    three_class = told and {"classes": told.classes, "confusion": told.confusion, "metrics": told.metrics}
    return {**vars(scope), "three_class": three_class}


def _write_page(evaluation: CollectionEvaluation, document: dict[str, Any], out_dir: Path) -> Path:
    hidden, wrong = evaluation.confounders, evaluation.ood_check
    return write_page(
        out_dir / "evaluation.html",
        "evaluation.html.j2",
        sections=SECTIONS,
        written=document["written"][:10],
        command=document["command"],
        evaluation=evaluation,
        tiles=_list_tiles(evaluation),
        headline=sentences.write_headline(evaluation),
        corrected=sentences.write_corrected(evaluation),
        said=_list_sentences(evaluation),
        tables=_list_tables(evaluation),
        pictures=_draw_pictures(evaluation, out_dir / "figures"),
        shortcuts=hidden and present_shortcuts(hidden, out_dir / "figures"),
        gate=wrong and present_gate(wrong),
        refused=_list_refused(evaluation),
        **_list_wrong(evaluation),
        alike=_list_alike(evaluation.thresholds),
        left_out=Counter(entry["reason"] for entry in evaluation.left_out).most_common(),
    )


def _list_sentences(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    return {
        "overview": sentences.write_verdict(evaluation),
        "three-class": [sentences.write_three_class(evaluation)],
        "error-stretches": [sentences.write_error_stretches(evaluation)],
        "calibration": sentences.write_calibration(evaluation),
        "conformal": [sentences.write_conformal(evaluation)],
        "selective": [sentences.write_selective(evaluation)],
        "gate": sentences.write_gate(evaluation),
        "prior-shift": sentences.write_prior_shift(evaluation),
        "limits": sentences.write_limits(evaluation),
    }


def _list_tables(evaluation: CollectionEvaluation) -> dict[str, list[tables.FigureTable]]:
    return {
        "points": tables.tabulate_points(evaluation),
        "three-class": [tables.tabulate_three_class(evaluation)],
        "calibration": [tables.tabulate_calibration(evaluation)],
        "conformal": [tables.tabulate_conformal(evaluation)],
        "selective": [tables.tabulate_selective(evaluation)],
        "gate": tables.tabulate_gate(evaluation),
        "subgroups": tables.tabulate_subgroups(evaluation),
        "prior-shift": [tables.tabulate_shares(evaluation)],
    }


def _list_tiles(evaluation: CollectionEvaluation) -> list[dict[str, str]]:
    scope, told = evaluation.scopes["all"], evaluation.scopes["all"].three_class
    point = scope.points[evaluation.operating_point]
    found = [
        ("points", "auroc", "AUROC", scope.ranking["auroc"]),
        ("points", "sensitivity", "Sensitivity", point["sensitivity"]),
        ("points", "specificity", "Specificity", point["specificity"]),
        ("points", "accuracy", "Accuracy", point["accuracy"]),
        *([("three-class", "accuracy", "Accuracy, three classes", told.metrics["accuracy"])] if told else []),
        *(
            ("calibration", "share", f"Calibration error, {figures.KIND_TITLES[kind]}", reliability.error)
            for kind, reliability in evaluation.reliability.items()
        ),
        *_list_hidden(evaluation),
        ("gate", "share", "Refused", evaluation.rejections.refused["all"]),
        ("gate", "share", "Not sure", evaluation.rejections.not_sure["all"]),
    ]
    return [
        {"section": section, "title": title, **vars(tables.word_figure(name, estimate))}
        for section, name, title, estimate in found
    ]


def _list_hidden(evaluation: CollectionEvaluation) -> list[tuple[str, str, str, Estimate]]:
    if evaluation.confounders is None:
        return []
    hidden = evaluation.confounders.metrics["lung_area_hidden"]["auroc"]
    return [("shortcuts", "auroc", "AUROC, lungs hidden", hidden)]


def _list_alike(thresholds: dict[str, float]) -> list[list[str]]:
    """Return the names of operating points that share a threshold."""
    values = dict.fromkeys(thresholds.values())
    groups = [[name for name, value in thresholds.items() if value == shared] for shared in values]
    return [names for names in groups if len(names) > 1]


def _list_refused(evaluation: CollectionEvaluation) -> list[str]:
    images = evaluation.images
    return [
        f"{name}: {reason}"
        for name, reason, decision in zip(images.names, images.reasons, images.decisions, strict=True)
        if decision == "refused"
    ]


def _list_wrong(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    """Return the pneumonias missed and the normals alarmed at the operating point, the farthest off first."""
    images, threshold = evaluation.images, evaluation.thresholds[evaluation.operating_point]
    sick = 1 - images.probabilities[:, 0]
    ranked = np.argsort(sick, kind="stable")
    missed = [row for row in ranked if images.labels[row] == 1 and sick[row] < threshold]
    alarmed = [row for row in ranked[::-1] if images.labels[row] == 0 and sick[row] >= threshold]
    return {
        name: [f"{images.names[row]}: probability {sick[row]:.3f}, {images.decisions[row]}" for row in rows]
        for name, rows in (("missed", missed), ("alarmed", alarmed))
    }


def _draw_pictures(evaluation: CollectionEvaluation, figures_dir: Path) -> dict[str, dict[str, str]]:
    """Return by section the address and the alternative text of its picture."""
    todo: list[tuple[str, str, Callable[..., Figure], Callable[[CollectionEvaluation], str]]] = [
        ("points", "ROC and operating points", figures.draw_operating_points, figures.describe_operating_points),
        ("calibration", "Promised and observed", figures.draw_reliability, figures.describe_reliability),
        ("selective", "Accuracy by share answered", figures.draw_selective, figures.describe_selective),
    ]
    if evaluation.conformal is not None:
        todo.append(("conformal", "Coverage and size of the sets", figures.draw_coverage, figures.describe_coverage))
    if evaluation.subgroups:
        todo.append(("subgroups", "Subgroups", figures.draw_subgroups, figures.describe_subgroups))
    drawn = [(section, draw(evaluation, title=title), describe(evaluation)) for section, title, draw, describe in todo]
    told = evaluation.scopes["all"].three_class
    if told is not None:
        drawn.append(("three-class", draw_confusion(told, title="Truth and answer"), describe_confusion(told)))
    pictures = {}
    for section, figure, alt in drawn:
        svg = save_figure(figure, figures_dir / section, note=RESEARCH_USE_ONLY, description=alt)
        pictures[section] = {"address": embed_svg(svg), "alt": alt, "name": section}
    return pictures
