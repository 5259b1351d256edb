"""Tables of the page of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from pneumoscope.io.results import CollectionEvaluation, Confounders, OODCheck, Scope
from pneumoscope.report.figures.evaluation import name_task
from pneumoscope.report.tables import EMPTY, Cell, Row, Table, make_cell, make_cells, tabulate
from pneumoscope.report.wording import confounder_title, format_difference, format_value, metric_title

SCOPE_TITLES = {"all": "all images", "accepted": "not rejected", "certain": "not uncertain"}
ORIGIN_TITLES = {
    "usual": "Images of the collection",
    "learned": "Invalid inputs of types that the OOD detector learns",
    "unseen": "Invalid inputs of other types",
}
CLASS_METRICS = ("auroc", "auprc", "sensitivity", "specificity", "precision", "recall", "f1")
SUBGROUP_METRICS = (
    *("sensitivity", "specificity", "accuracy", "balanced_accuracy", "subset_accuracy"),
    *("macro_f1", "auroc", "rejected"),
)


def tabulate_evaluation(evaluation: CollectionEvaluation) -> dict[str, list[Table]]:
    """Return the tables of each section."""
    hidden, ood = evaluation.confounders, evaluation.ood_check
    left_out = Counter(entry["reason"] for entry in evaluation.left_out)
    return {
        "performance": tabulate_points(evaluation),
        "classes": tabulate_classes(evaluation),
        "calibration": [tabulate_calibration(evaluation)],
        "conformal": [tabulate_conformal(evaluation)],
        "selective": tabulate_selective(evaluation),
        "rejections": tabulate_rejections(evaluation),
        "subgroups": tabulate_subgroups(evaluation),
        "confounders": tabulate_confounders(hidden) if hidden else [],
        "ood": [tabulate_ood(ood)] if ood else [],
        "label-shift": [tabulate_shares(evaluation)],
        "excluded": [tabulate_reasons("Excluded files of the collection", left_out.most_common())],
    }


def tabulate_points(evaluation: CollectionEvaluation) -> list[Table]:
    """Return a table of the ranking metrics, and one of the operating points for each scope; none without them."""
    label_set = evaluation.images.label_set
    if label_set.positive is None:
        return []
    thresholds = {point: values[label_set.positive] for point, values in evaluation.thresholds.items()}
    names, scopes = ("auroc", "auprc", "specificity_at_sensitivity"), _list_scopes(evaluation)
    ranking = {SCOPE_TITLES[name]: scope.ranking for name, scope in scopes.items()}
    columns = {name: metric_title(name) for name in names}
    listed = [
        tabulate(f"Ranking of {' against '.join(label_set.binary().classes)}", "Images", columns, ranking, counted=True)
    ]
    columns = {name: metric_title(name) for name in ("sensitivity", "specificity", "accuracy")}
    for name, scope in scopes.items():
        # Which images are uncertain depends on the operating point.
        points = [evaluation.operating_point] if name == "certain" else list(scope.points)
        rows = {f"{point}, threshold {thresholds[point]:.3f}": scope.points[point] for point in points}
        caption = f"Operating points, {SCOPE_TITLES[name]}: {scope.num_images:,} images"
        listed.append(tabulate(caption, "Operating point", columns, rows, counted=True))
    return listed


def tabulate_classes(evaluation: CollectionEvaluation) -> list[Table]:
    """Return averages over the classes with a column for each scope, and the metrics of each class on all images."""
    scopes = {name: scope.classes.metrics for name, scope in _list_scopes(evaluation).items() if scope.classes}
    if "all" not in scopes:
        return []
    label_set, metrics = evaluation.images.label_set, scopes["all"]
    by_class = {
        name: {kind: metrics[f"{kind}_{name}"] for kind in CLASS_METRICS if f"{kind}_{name}" in metrics}
        for name in label_set.classes
    }
    own = {f"{kind}_{name}" for name, values in by_class.items() for kind in values}
    titles = {name: f"{metric_title(name)}, mean over classes" for name in ("auroc", "auprc")}
    rows: list[Row] = [
        (titles.get(name, metric_title(name)), [make_cell(name, one[name], counted=True) for one in scopes.values()])
        for name in metrics
        if name not in own
    ]
    columns = {kind: metric_title(kind) for kind in CLASS_METRICS if any(kind in one for one in by_class.values())}
    limits = evaluation.thresholds.get(evaluation.operating_point, {}) if label_set.multi_label else {}
    has_limits = len(set(limits.values())) > 1
    first = "Finding" if label_set.multi_label else "Class"
    labels = evaluation.images.labels
    present = labels == 1 if label_set.multi_label else labels[:, None] == np.arange(len(label_set.classes))
    class_rows: list[Row] = [
        (
            name,
            [
                *([Cell(f"{limits[name]:.3f}")] if has_limits else []),
                count,
                *make_cells(by_class[name], columns, counted=len(columns) < 4),
            ],
        )
        for name, count in zip(label_set.classes, present.sum(axis=0).tolist(), strict=True)
    ]
    header = [first, *(["Threshold"] if has_limits else []), "Images", *columns.values()]
    return [
        Table("Averages", ["Metric", *(SCOPE_TITLES[name] for name in scopes)], rows),
        Table(f"By {first.lower()}, all images", header, class_rows),
    ]


def tabulate_calibration(evaluation: CollectionEvaluation) -> Table:
    """Return the expected calibration errors, mean probabilities and observed shares."""
    rows: list[Row] = []
    for task, one in evaluation.reliability.items():
        others = [
            Cell(format_value("share", value)) for value in (one.by_chance, one.predicted_mean, one.observed_mean)
        ]
        rows.append((name_task(evaluation, task), [make_cell("share", one.error, counted=True), *others]))
    header = ["Task", "ECE", "ECE expected by chance", "Mean probability", "Observed share"]
    return Table("Expected calibration error (ECE), 15 bins", header, rows)


def tabulate_conformal(evaluation: CollectionEvaluation) -> Table:
    """Return coverage and size of the prediction sets by true class."""
    columns = {"coverage": "Coverage", "size": "Mean size", "single": "One class", "several": "More", "empty": "Empty"}
    metrics = evaluation.conformal.metrics if evaluation.conformal else {}
    return tabulate("Prediction sets by true class", "True class", columns, metrics, counted=True)


def tabulate_selective(evaluation: CollectionEvaluation) -> list[Table]:
    """Return accuracy by coverage, and the area under the risk-coverage curve."""
    curves = evaluation.selective
    if not curves:
        return []
    rows: list[Row] = [
        (
            f"Most certain {share:.0%}",
            [make_cell("accuracy", curve.at_shares[share], counted=True) for curve in curves.values()],
        )
        for share in next(iter(curves.values())).at_shares
    ]
    rows.append(("AURC (lower is better)", [make_cell("area", curve.area, counted=True) for curve in curves.values()]))
    return [
        Table("Accuracy by coverage", ["Images predicted", *(name_task(evaluation, task) for task in curves)], rows)
    ]


def tabulate_rejections(evaluation: CollectionEvaluation) -> list[Table]:
    """Return rejected and uncertain images by class, the accuracy of other images, and the reasons."""
    rejections = evaluation.rejections
    if rejections is None:
        return []
    shares = {
        "rejected": rejections.rejected,
        "accepted, but out of distribution": rejections.flagged,
        "uncertain": rejections.uncertain,
    }
    by_class: list[Row] = [
        (title, [make_cell("share", one[name], counted=True) for name in rejections.rejected])
        for title, one in shares.items()
    ]
    titles = {"all": "all accepted images", "certain": "not uncertain", "uncertain": "uncertain"}
    accuracies = {titles[name]: {"accuracy": value} for name, value in rejections.accuracy.items()}
    caption = f"Accuracy at the operating point {evaluation.operating_point}"
    return [
        Table("Rejected and uncertain images", ["Share of the images", *rejections.rejected], by_class),
        tabulate(caption, "Images", {"accuracy": "Accuracy"}, accuracies, counted=True),
        tabulate_reasons("Rejected images by reason", rejections.reasons.items()),
        tabulate_reasons("Remarks on accepted images; an image can have more than one", rejections.remarks.items()),
    ]


def tabulate_reasons(caption: str, counts: Iterable[tuple[str, int]]) -> Table:
    """Return the number of images for each reason."""
    return Table(caption, ["Reason", "Images"], [(reason, [count]) for reason, count in counts])


def tabulate_subgroups(evaluation: CollectionEvaluation) -> list[Table]:
    """Return a table for each attribute."""
    titles = {name: metric_title(name) for name in SUBGROUP_METRICS}
    if evaluation.rejections is None:
        del titles["rejected"]
    listed = []
    for trait in dict.fromkeys(group.trait for group in evaluation.subgroups):
        rows = {group.name: group.metrics for group in evaluation.subgroups if group.trait == trait}
        columns = {name: title for name, title in titles.items() if any(name in metrics for metrics in rows.values())}
        at_point = f", at the operating point {evaluation.operating_point}" if evaluation.thresholds else ""
        caption = f"By {trait}{at_point}"
        listed.append(tabulate(caption, trait.capitalize(), columns, rows, counted=True))
    return listed


def tabulate_shares(evaluation: CollectionEvaluation) -> Table:
    """Return the estimated and the labeled shares of the classes."""
    labeled = evaluation.true_shares
    rows: list[Row] = [
        (name, [make_cell("share", share), Cell(format_value("share", labeled[name])) if labeled else EMPTY])
        for name, share in (evaluation.label_shift.shares if evaluation.label_shift else {}).items()
    ]
    return Table("Shares of the classes", ["Class", "Estimated without labels", "As labeled"], rows)


def tabulate_confounders(confounders: Confounders) -> list[Table]:
    """Return metrics with parts of the images hidden, and of regressions without the lungs."""
    columns = {name: metric_title(name) for name in confounders.metrics["untouched"]}
    shown: list[Row] = []
    for name, metrics in confounders.metrics.items():
        differences = confounders.differences.get(name, {})
        notes = {metric: format_difference(metric, value) for metric, value in differences.items()}
        cells = [make_cell(metric, metrics[metric], note=notes.get(metric, "")) for metric in columns]
        hidden = Cell(format_value("share", confounders.hidden[name].value)) if name in confounders.hidden else EMPTY
        shown.append((confounder_title(name), [hidden, *cells]))
    baselines = {confounder_title(name): metrics for name, metrics in confounders.pixel_baselines.items()}
    caption = "Logistic regressions without the lungs, fitted on training images"
    return [
        Table("Parts of the images hidden, with paired differences", ["Shown", "Hidden", *columns.values()], shown),
        tabulate(caption, "Input", columns, baselines, counted=False),
    ]


def tabulate_ood(check: OODCheck) -> Table:
    """Return the shares of flagged and rejected images for each type of input."""
    rows: list[Row] = []
    for origin, title in ORIGIN_TITLES.items():
        kinds = [kind for kind in check.kinds if kind.origin == origin]
        rows += [(title, [])] if kinds else []
        for kind in kinds:
            shares = [make_cell("share", kind.flagged), make_cell("share", kind.rejected)]
            ranking = [
                make_cell(name, value) if value else EMPTY
                for name, value in (("auroc", kind.auroc), ("share", kind.false_positive_rate))
            ]
            rows.append((kind.kind, [kind.flagged.n, *shares, *ranking, kind.reason or "-"]))
    caption = (
        "Shares of flagged images (including rejected images) and of rejected images; AUROC of the OOD score against "
        "unchanged images, and its false positive rate (FPR) where 95 % of the invalid inputs are flagged; and the "
        "most frequent reason"
    )
    columns = ["Type of image", "Images", "Flagged", "Rejected", "AUROC", "FPR", "Reason"]
    return Table(caption, columns, rows)


def _list_scopes(evaluation: CollectionEvaluation) -> dict[str, Scope]:
    """Return the scopes except those with the same images as `all`."""
    all_images = evaluation.scopes["all"]
    return {
        name: scope
        for name, scope in evaluation.scopes.items()
        if name == "all" or scope.num_images < all_images.num_images
    }
