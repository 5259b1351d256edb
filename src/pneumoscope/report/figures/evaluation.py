"""Figures of an evaluation: operating points, reliability and subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import CollectionEvaluation, Estimate, Reliability
from pneumoscope.report.figures import palette
from pneumoscope.report.figures.scores import set_up_roc
from pneumoscope.report.wording import format_estimate, format_value, is_percentage, metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TASK_COLORS = {"positive": palette.VERMILION, "classes": palette.BLUE}
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
    alt = "ROC curve and operating points with 95% intervals. The tables below contain the values."
    figure = palette.new_figure(title, alt, height=4.6)
    axes = figure.subplots()
    if evaluation.roc is not None:
        curve = evaluation.roc.false_positive_rate, evaluation.roc.sensitivity
        axes.plot(*curve, color=palette.VERMILION, label="all thresholds")
        axes.set_title(f"AUROC {format_estimate('auroc', evaluation.scopes['all'].ranking['auroc'])}")
    points = evaluation.scopes["all"].points
    for number, (name, metrics) in enumerate(points.items()):
        axes.errorbar(
            1 - metrics["specificity"].value,
            metrics["sensitivity"].value,
            xerr=_measure_reach([metrics["specificity"]])[::-1],
            yerr=_measure_reach([metrics["sensitivity"]]),
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


@palette.styled
def draw_reliability(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw observed shares against predicted probabilities in bins, with the number of images in each bin."""
    tasks = list(evaluation.reliability)
    columns = min(len(tasks), MOST_PANELS)
    blocks = -(-len(tasks) // columns)
    width = palette.FULL_WIDTH if len(tasks) > 1 else palette.FULL_WIDTH * 0.55
    height = 4.6 if blocks == 1 else 0.8 + 3.2 * blocks
    alt = "Observed shares against mean probabilities in 15 bins. The table below contains the calibration errors."
    figure = palette.new_figure(title, alt, width=width, height=height)
    grid = figure.subplots(2 * blocks, columns, squeeze=False, height_ratios=[4, 1] * blocks)
    for number, task in enumerate(tasks):
        block, column = divmod(number, columns)
        above, below = grid[2 * block : 2 * block + 2, column]
        color = TASK_COLORS.get(task, palette.VERMILION)
        _draw_bins(above, below, evaluation.reliability[task], name_task(evaluation, task), color)
    for axes in grid.reshape(blocks, 2, columns).swapaxes(1, 2).reshape(-1, 2)[len(tasks) :].ravel():
        axes.set_axis_off()
    palette.put_legend_below(figure, grid[0, 0])
    return figure


def _draw_bins(above: Axes, below: Axes, reliability: Reliability, name: str, color: str) -> None:
    above.plot([0, 1], [0, 1], color=palette.SOFT, linewidth=1, linestyle=":", label="perfect calibration")
    places = reliability.predicted[list(reliability.observed)].tolist()
    estimates = list(reliability.observed.values())
    values, label = [estimate.value for estimate in estimates], "observed, with 95% interval"
    style = {"fmt": "o-", "color": color, "markeredgecolor": palette.INK, "linewidth": 1.2, "elinewidth": 1}
    above.errorbar(places, values, yerr=_measure_reach(estimates), label=label, **style)
    above.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="observed share")
    above.tick_params(labelbottom=False)
    above.set_title(f"{name}\nECE {format_value('share', reliability.error.value)}")
    below.stairs(reliability.counts, reliability.edges, color=palette.SOFT, fill=True, alpha=0.6)
    below.set(xlim=(-0.02, 1.02), ylabel="images", xlabel="mean probability")


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
        _draw_dots(axes, [group.metrics.get(metric) for group in groups], metric, color)
        axes.set_title(f"{metric_title(metric)} (dashed: all images)", fontweight="bold")
        axes.set_yticks([-row for row in range(len(groups))], names)
        if np.isfinite(overall[metric].value):
            axes.axvline(overall[metric].value, color=palette.INK, linestyle="--", linewidth=1)
        axes.set_xlim(-0.03, 1.03)
    return figure


def _draw_dots(axes: Axes, estimates: Sequence[Estimate | None], metric: str, color: str) -> None:
    """Draw metrics with intervals in rows from top to bottom, each with its value on the right."""
    for row, estimate in enumerate(estimates):
        if estimate is None:
            continue
        axes.hlines(-row, estimate.low, estimate.high, color=color, linewidth=2.2)
        axes.plot(estimate.value, -row, "o", color=color, markeredgecolor=palette.INK, markersize=6.5)
        value = format_value(metric, estimate.value)
        axes.annotate(value, (1.01, -row), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_ylim(0.6 - len(estimates), 0.6)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter("{x:.0%}" if is_percentage(metric) else "{x:.2f}")


def _measure_reach(estimates: Sequence[Estimate]) -> np.ndarray:
    """Return `(2, n)` lengths of the intervals below and above the values; 0 where undefined."""
    ends = [[one.value - one.low for one in estimates], [one.high - one.value for one in estimates]]
    return np.asarray(np.maximum(np.nan_to_num(np.array(ends)), 0))
