"""Figures of an evaluation: operating points, reliability, coverage, selective prediction and subgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import CollectionEvaluation, Conformal, Reliability
from pneumoscope.report.figures import palette
from pneumoscope.report.figures.dots import Dot, draw_dots, draw_intervals, measure_reach
from pneumoscope.report.figures.scores import set_up_roc
from pneumoscope.report.wording import format_estimate, format_value, metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Below this coverage the accuracy depends on a few images.
LEAST_SHARE = 0.1
TASK_STYLES = {
    "positive": {"color": palette.VERMILION, "linestyle": "-"},
    "classes": {"color": palette.BLUE, "linestyle": "--"},
}
MOST_PANELS = 4  # in a row
_POINT_MARKERS = ("^", "o", "s", "D")
_POINT_COLORS = (palette.ORANGE, palette.GREEN, palette.SKY, palette.INK)


def name_task(evaluation: CollectionEvaluation, task: str) -> str:
    """Return the title of a curve: `positive`, `classes`, or the name of a finding."""
    label_set = evaluation.images.label_set
    if label_set.multi_label:
        return task
    if task == "positive":
        return " or ".join(label_set.binary().classes)
    return f"{len(label_set.classes)} classes"


@palette.styled
def draw_operating_points(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw the ROC curve of the positive class, and each operating point with its intervals."""
    figure = palette.new_figure(title, describe_operating_points(evaluation), height=4.6)
    axes = figure.subplots()
    if evaluation.roc is not None:
        axes.plot(
            evaluation.roc.false_positive_rate,
            evaluation.roc.sensitivity,
            color=palette.VERMILION,
            label="all thresholds",
        )
        axes.set_title(f"AUROC {format_estimate('auroc', evaluation.scopes['all'].ranking['auroc'])}")
    points = evaluation.scopes["all"].points
    for number, (name, metrics) in enumerate(points.items()):
        alarms = 1 - metrics["specificity"].value
        axes.errorbar(
            alarms,
            metrics["sensitivity"].value,
            xerr=measure_reach([metrics["specificity"]])[::-1],
            yerr=measure_reach([metrics["sensitivity"]]),
            fmt=_POINT_MARKERS[number % len(_POINT_MARKERS)],
            color=_POINT_COLORS[number % len(_POINT_COLORS)],
            markeredgecolor=palette.INK,
            # Points with the same position stay visible.
            markersize=10 - 2 * number,
            elinewidth=1.2,
            zorder=4 + number,
            label=name,
        )
    set_up_roc(axes)
    axes.set_aspect("equal")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def describe_operating_points(evaluation: CollectionEvaluation) -> str:
    """Return the alternative text of `draw_operating_points`."""
    points = "; ".join(
        f"{name}: sensitivity {format_estimate('sensitivity', metrics['sensitivity'])}, "
        f"specificity {format_estimate('specificity', metrics['specificity'])}"
        for name, metrics in evaluation.scopes["all"].points.items()
    )
    return f"ROC curve and operating points with 95% intervals. {points}."


@palette.styled
def draw_reliability(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw observed shares against predicted probabilities in bins, with the number of images in each bin."""
    tasks = list(evaluation.reliability)
    columns = min(len(tasks), MOST_PANELS)
    blocks = -(-len(tasks) // columns)
    width = palette.FULL_WIDTH if len(tasks) > 1 else palette.FULL_WIDTH * 0.55
    height = 4.6 if blocks == 1 else 0.8 + 3.2 * blocks
    figure = palette.new_figure(title, describe_reliability(evaluation), width=width, height=height)
    grid = figure.subplots(2 * blocks, columns, squeeze=False, height_ratios=[4, 1] * blocks)
    for number, task in enumerate(tasks):
        block, column = divmod(number, columns)
        above, below = grid[2 * block : 2 * block + 2, column]
        _draw_bins(above, below, evaluation.reliability[task], name_task(evaluation, task), TASK_STYLES.get(task))
    for number in range(len(tasks), blocks * columns):
        for axes in grid[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]:
            axes.set_axis_off()
    palette.put_legend_below(figure, grid[0, 0])
    return figure


def _draw_bins(above: Axes, below: Axes, reliability: Reliability, name: str, style: dict[str, str] | None) -> None:
    above.plot([0, 1], [0, 1], color=palette.SOFT, linewidth=1, linestyle=":", label="perfect calibration")
    color = (style or TASK_STYLES["positive"])["color"]
    places = reliability.predicted[list(reliability.observed)].tolist()
    estimates = list(reliability.observed.values())
    draw_intervals(above, places, estimates, fmt="o-", color=color, linewidth=1.2, label="observed, with 95% interval")
    above.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="observed share")
    above.tick_params(labelbottom=False)
    above.set_title(f"{name}\nECE {format_value('share', reliability.error.value)}")
    below.stairs(reliability.counts, reliability.edges, color=palette.SOFT, fill=True, alpha=0.6)
    below.set(xlim=(-0.02, 1.02), ylabel="images", xlabel="mean probability")


def describe_reliability(evaluation: CollectionEvaluation) -> str:
    """Return the alternative text of `draw_reliability`."""
    parts = []
    for task, reliability in evaluation.reliability.items():
        bins = ", ".join(
            f"{reliability.predicted[number]:.2f} predicted and {estimate.value:.2f} observed on {estimate.n}"
            for number, estimate in reliability.observed.items()
        )
        parts.append(f"{name_task(evaluation, task)}: {bins}.")
    return f"Reliability diagram. {' '.join(parts)}"


@palette.styled
def draw_selective(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw accuracy against coverage, the share of images with a prediction."""
    alt = "Accuracy against coverage of selective prediction. The table below contains the values."
    figure = palette.new_figure(title, alt, height=3.6)
    axes = figure.subplots()
    for task, curve in evaluation.selective.items():
        axes.plot(curve.shares, curve.accuracies, label=name_task(evaluation, task), **TASK_STYLES[task])
        places, accuracies = list(curve.at_shares), list(curve.at_shares.values())
        draw_intervals(axes, places, accuracies, fmt="o", color=TASK_STYLES[task]["color"])
    axes.set_xlabel("coverage (most certain images first)")
    axes.set_ylabel("accuracy")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlim(1.02, LEAST_SHARE)
    palette.put_legend_below(figure, axes)
    return figure


@palette.styled
def draw_coverage(conformal: Conformal, *, title: str) -> Figure:
    """Draw coverage and size of the prediction sets by true class, and the nominal coverage."""
    names = list(conformal.metrics)
    figure = palette.new_figure(
        title,
        "Coverage of the prediction sets and number of classes in them. The table below contains the values.",
        width=palette.FULL_WIDTH,
        height=1.5 + 0.42 * len(names),
    )
    left, right = figure.subplots(1, 2, sharey=True)
    dots = [Dot(name, conformal.metrics[name]["coverage"], palette.INK) for name in names]
    draw_dots(left, dots, metric="coverage", title="Coverage")
    left.axvline(conformal.nominal_coverage, color=palette.INK, linestyle="--", linewidth=1.2, label="nominal")
    left.legend(loc="upper left")
    start = np.zeros(len(names))
    for size, label, color in (
        ("single", "one class", palette.GREEN),
        ("several", "two or more", palette.ORANGE),
        ("empty", "none", palette.SOFT),
    ):
        shares = np.array([conformal.metrics[name][size].value for name in names])
        right.barh(-np.arange(len(names)), shares, left=start, color=color, height=0.6, label=label)
        start += shares
    right.set_title("Classes in a prediction set", fontweight="bold")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    right.xaxis.set_major_formatter("{x:.0%}")
    return figure


@palette.styled
def draw_subgroups(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw the two main metrics of each subgroup and of all images."""
    groups, overall = evaluation.subgroups, evaluation.main_metrics()
    candidates = ("sensitivity", "specificity", "auroc", "macro_f1", "accuracy")
    metrics = [name for name in candidates if name in overall][:2]
    figure = palette.new_figure(
        title,
        f"{' and '.join(map(metric_title, metrics))} of subgroups. The tables below contain the values.",
        width=palette.FULL_WIDTH,
        height=1.2 + 0.3 * len(groups),
    )
    figure.get_layout_engine().set(w_pad=0.1)
    panels = figure.subplots(1, 2, sharey=True)
    names = [f"{group.trait}: {group.name.partition(',')[0]} ({group.num_images})" for group in groups]
    for axes, metric, color in zip(panels, metrics, (palette.VERMILION, palette.BLUE), strict=True):
        dots = [Dot(name, group.metrics.get(metric), color) for name, group in zip(names, groups, strict=True)]
        draw_dots(axes, dots, metric=metric, title=f"{metric_title(metric)} (dashed: all images)")
        if np.isfinite(overall[metric].value):
            axes.axvline(overall[metric].value, color=palette.INK, linestyle="--", linewidth=1)
        axes.set_xlim(-0.03, 1.03)
    return figure
