"""The figures of an evaluation as rows for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pneumoscope.io.results import CollectionEvaluation, Estimate, Scope
from pneumoscope.report.figures.evaluation import KIND_TITLES
from pneumoscope.report.tables import EMPTY, Cell, word_cell
from pneumoscope.report.wording import metric_title, word_value

SCOPE_TITLES = {
    "all": "all images read",
    "accepted": "not refused",
    "sure": "answered for sure",
}
SURE = SCOPE_TITLES["sure"]


@dataclass(frozen=True)
class FigureTable:
    """Rows of figures.

    Attributes:
        label: what it shows.
        first: title of the first column.
        columns: titles of the others.
        rows: `(title, figures)`.
    """

    label: str
    first: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


word_figure = partial(word_cell, counted=True)


def tabulate_points(evaluation: CollectionEvaluation) -> list[FigureTable]:
    """Return a table of the operating points for each scope, and one of the rankings."""
    names = ("sensitivity", "specificity", "accuracy")
    ranked = ("auroc", "auprc", "specificity_at_sensitivity")
    scopes = {SCOPE_TITLES[name]: scope for name, scope in _list_scopes(evaluation).items()}
    tables = [
        FigureTable(
            "How well normal and pneumonia are ranked",
            "Images",
            [metric_title(name) for name in ranked],
            [(title, _row(scope.ranking, ranked)) for title, scope in scopes.items()],
        )
    ]
    for title, scope in scopes.items():
        # What is sure was told at one point; at another it would be other images.
        kept = {SURE: (evaluation.operating_point,)}.get(title, tuple(scope.points))
        rows = [
            (f"{point}, from {evaluation.thresholds[point]:.3f}", _row(figures, names))
            for point, figures in scope.points.items()
            if point in kept
        ]
        label = f"At the operating points: {title} ({scope.num_images:,} images of {scope.num_patients:,} patients)"
        tables.append(FigureTable(label, "Operating point", [name.capitalize() for name in names], rows))
    return tables


def tabulate_three_class(evaluation: CollectionEvaluation) -> FigureTable:
    """Return the figures of the three classes, a column a scope."""
    scopes = {name: scope.three_class for name, scope in _list_scopes(evaluation).items() if scope.three_class}
    names = list(next(iter(scopes.values())).metrics) if scopes else []
    titles = {name: f"{metric_title(name)}, mean of the classes" for name in ("auroc", "auprc")}
    rows = [
        (titles.get(name, metric_title(name)), [word_figure(name, told.metrics[name]) for told in scopes.values()])
        for name in names
    ]
    return FigureTable("Normal, bacterial or viral", "Measure", [SCOPE_TITLES[name] for name in scopes], rows)


def tabulate_calibration(evaluation: CollectionEvaluation) -> FigureTable:
    """Return the expected calibration errors."""
    rows = [
        (KIND_TITLES[kind], [word_figure("share", found.error), Cell(word_value("share", found.by_chance))])
        for kind, found in evaluation.reliability.items()
    ]
    return FigureTable("Expected calibration error, 15 bins", "Task", ["Error", "By chance alone"], rows)


def tabulate_conformal(evaluation: CollectionEvaluation) -> FigureTable:
    """Return coverage and size of the sets, a row a class."""
    columns = {
        "coverage": "Hold the truth",
        "size": "Classes",
        "single": "One class",
        "several": "Two or three",
        "empty": "None",
    }
    figures = evaluation.conformal.figures if evaluation.conformal else {}
    rows = [(name, _row(found, tuple(columns))) for name, found in figures.items()]
    return FigureTable("Sets of classes, by true class", "True class", list(columns.values()), rows)


def tabulate_selective(evaluation: CollectionEvaluation) -> FigureTable:
    """Return accuracy by share answered, and the area under the risk-coverage curve."""
    curves = evaluation.selective
    shares = list(next(iter(curves.values())).at_shares)
    rows = [
        (f"surest {share:.0%} answered", [word_figure("accuracy", curve.at_shares[share]) for curve in curves.values()])
        for share in shares
    ]
    rows.append(("AURC, less is better", [word_figure("area", curve.area) for curve in curves.values()]))
    return FigureTable("Accuracy of the images answered", "Answered", [KIND_TITLES[kind] for kind in curves], rows)


def tabulate_gate(evaluation: CollectionEvaluation) -> list[FigureTable]:
    """Return what was refused and left unsure by class, and how right answers are that were given and held back."""
    gate = evaluation.rejections
    shares = {"refused": gate.refused, "read, but unlike the training images": gate.unlike, "not sure": gate.not_sure}
    classes = list(gate.refused)
    by_class = [(title, [word_figure("share", found[name]) for name in classes]) for title, found in shares.items()]
    titles = {"all": "all, had they been answered", "sure": "answered for sure", "not_sure": "held back as not sure"}
    answers = [(titles[name], [word_figure("accuracy", found)]) for name, found in gate.answers.items()]
    label = f"Answers right at the operating point {evaluation.operating_point}, of the images not refused"
    return [
        FigureTable("Refusals, remarks and doubts", "Share of the images", classes, by_class),
        FigureTable(label, "Images", ["Accuracy"], answers),
    ]


def tabulate_subgroups(evaluation: CollectionEvaluation) -> list[FigureTable]:
    """Return a table for each trait."""
    names = ("sensitivity", "specificity", "accuracy", "auroc", "refused")
    tables = []
    for trait in dict.fromkeys(group.trait for group in evaluation.subgroups):
        groups = [group for group in evaluation.subgroups if group.trait == trait]
        known = tuple(name for name in names if any(name in group.metrics for group in groups))
        tables.append(
            FigureTable(
                f"By {trait}, at the operating point {evaluation.operating_point}",
                trait.capitalize(),
                [metric_title(name) for name in known],
                [(group.name, _row(group.metrics, known)) for group in groups],
            )
        )
    return tables


def tabulate_shares(evaluation: CollectionEvaluation) -> FigureTable:
    """Return the estimated shares of the classes beside those of the labels."""
    shares = evaluation.label_shift.shares if evaluation.label_shift else {}
    true = evaluation.true_shares
    rows = [
        (name, [word_figure("share", share), Cell(word_value("share", true[name])) if true else EMPTY])
        for name, share in shares.items()
    ]
    return FigureTable("Shares of the classes", "Class", ["Estimated without labels", "As labelled"], rows)


def _list_scopes(evaluation: CollectionEvaluation) -> dict[str, Scope]:
    """Return the scopes, without one that holds the same images as all."""
    everyone = evaluation.scopes["all"]
    return {
        name: scope
        for name, scope in evaluation.scopes.items()
        if scope is everyone or scope.num_images < everyone.num_images
    }


def _row(figures: Mapping[str, Estimate], names: tuple[str, ...]) -> list[Cell]:
    return [word_figure(name, figures[name]) if name in figures else EMPTY for name in names]
