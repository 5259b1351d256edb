"""ROC with operating points, reliability, coverage of sets, selective reading, subgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import CollectionEvaluation, Estimate, Reliability
from pneumoscope.report.figures.palette import (
    BLUE,
    CLASS_COLORS,
    FULL_WIDTH,
    GREEN,
    INK,
    ORANGE,
    SKY,
    SOFT,
    VERMILION,
    new_figure,
    put_legend_below,
    styled,
)
from pneumoscope.report.wording import word_estimate, word_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Further to the right the curve hangs on a handful of images.
LEAST_SHARE = 0.1
KIND_TITLES = {"pneumonia": "normal or pneumonia", "three_class": "three classes"}
KIND_STYLES = {
    "pneumonia": {"color": VERMILION, "linestyle": "-"},
    "three_class": {"color": BLUE, "linestyle": "--"},
}
PANEL_TITLES = {
    "pneumonia": ("Pneumonia", "probability of pneumonia", "share that are pneumonias"),
    "three_class": ("Most probable of three classes", "its probability", "share where it is the true one"),
}
_POINT_MARKERS = ("^", "o", "s", "D")
_POINT_COLORS = (ORANGE, GREEN, SKY, INK)


@styled
def draw_operating_points(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw the ROC curve of pneumonia, and each operating point with its intervals."""
    figure = new_figure(title, height=4.6)
    axes = figure.subplots()
    if evaluation.roc is not None:
        axes.plot(evaluation.roc.false_alarms, evaluation.roc.sensitivity, color=VERMILION, label="all thresholds")
        axes.set_title(f"AUROC {word_estimate('auroc', evaluation.scopes['all'].ranking['auroc'])}")
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":", label="chance")
    points = evaluation.scopes["all"].points
    for number, (name, figures) in enumerate(points.items()):
        alarms = 1 - figures["specificity"].value
        axes.errorbar(
            alarms,
            figures["sensitivity"].value,
            xerr=_reach(figures["specificity"])[::-1],
            yerr=_reach(figures["sensitivity"]),
            fmt=_POINT_MARKERS[number % len(_POINT_MARKERS)],
            color=_POINT_COLORS[number % len(_POINT_COLORS)],
            markeredgecolor=INK,
            # Points that coincide stay visible inside one another.
            markersize=10 - 2 * number,
            elinewidth=1.2,
            zorder=4 + number,
            label=name,
        )
    axes.set_xlabel("false-alarm rate (1 - specificity)")
    axes.set_ylabel("sensitivity")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def describe_operating_points(evaluation: CollectionEvaluation) -> str:
    """Say in words what `draw_operating_points` shows."""
    scope = evaluation.scopes["all"]
    points = "; ".join(
        f"{name}: sensitivity {word_estimate('sensitivity', figures['sensitivity'])}, specificity "
        f"{word_estimate('specificity', figures['specificity'])}"
        for name, figures in scope.points.items()
    )
    return f"ROC curve, area {word_estimate('auroc', scope.ranking['auroc'])}, with the operating points. {points}."


@styled
def draw_reliability(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw promised against observed in bins, with the number of images in each below."""
    kinds = list(evaluation.reliability)
    width = FULL_WIDTH if len(kinds) > 1 else FULL_WIDTH * 0.55
    figure = new_figure(title, width=width, height=4.6)
    grid = figure.subplots(2, len(kinds), sharex="col", squeeze=False, height_ratios=[4, 1])
    for column, kind in enumerate(kinds):
        _draw_bins(grid[0, column], grid[1, column], evaluation.reliability[kind], kind)
    put_legend_below(figure, grid[0, 0])
    return figure


def _draw_bins(above: Axes, below: Axes, reliability: Reliability, kind: str) -> None:
    panel, promise, outcome = PANEL_TITLES[kind]
    above.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":", label="perfect calibration")
    numbers = list(reliability.observed)
    observed = list(reliability.observed.values())
    above.errorbar(
        reliability.promised[numbers],
        [estimate.value for estimate in observed],
        yerr=np.hstack([_reach(estimate) for estimate in observed]),
        fmt="o-",
        color=KIND_STYLES[kind]["color"],
        markeredgecolor=INK,
        elinewidth=1,
        linewidth=1.2,
        label="observed, with 95% interval",
    )
    above.set_ylim(-0.03, 1.03)
    above.set_ylabel(outcome)
    above.set_title(f"{panel}: error {word_value('share', reliability.error.value)}")
    below.stairs(reliability.counts, reliability.edges, color=SOFT, fill=True, alpha=0.6)
    below.set_ylabel("images")
    below.set_xlabel(promise)
    below.set_xlim(-0.02, 1.02)


def describe_reliability(evaluation: CollectionEvaluation) -> str:
    """Say in words what `draw_reliability` shows."""
    parts = []
    for kind, found in evaluation.reliability.items():
        bins = ", ".join(
            f"{found.promised[number]:.2f} promised and {estimate.value:.2f} observed on {estimate.n}"
            for number, estimate in found.observed.items()
        )
        parts.append(f"{PANEL_TITLES[kind][0]}: {bins}.")
    return f"Reliability diagram. {' '.join(parts)}"


@styled
def draw_selective(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw accuracy against the share of images answered."""
    figure = new_figure(title, height=3.6)
    axes = figure.subplots()
    for kind, curve in evaluation.selective.items():
        axes.plot(curve.shares, curve.accuracies, label=KIND_TITLES[kind], **KIND_STYLES[kind])
        shares = list(curve.at_shares)
        accuracies = list(curve.at_shares.values())
        axes.errorbar(
            shares,
            [estimate.value for estimate in accuracies],
            yerr=np.hstack([_reach(estimate) for estimate in accuracies]),
            fmt="o",
            color=KIND_STYLES[kind]["color"],
            markeredgecolor=INK,
            elinewidth=1,
        )
    axes.set_xlabel("share of the images answered, the surest first")
    axes.set_ylabel("accuracy of those answered")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlim(1.02, LEAST_SHARE)
    put_legend_below(figure, axes)
    return figure


def describe_selective(evaluation: CollectionEvaluation) -> str:
    """Say in words what `draw_selective` shows."""
    parts = []
    for kind, curve in evaluation.selective.items():
        steps = ", ".join(
            f"{share:.0%} answered {word_value('accuracy', accuracy.value)}"
            for share, accuracy in curve.at_shares.items()
        )
        parts.append(f"{KIND_TITLES[kind]}: {steps}.")
    return f"Accuracy against the share of images answered. {' '.join(parts)}"


@styled
def draw_coverage(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw how often sets hold the truth beside what was promised, and how many classes they name."""
    conformal = evaluation.conformal
    assert conformal is not None
    names = list(conformal.figures)
    figure = new_figure(title, width=FULL_WIDTH, height=1.5 + 0.42 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    places = -np.arange(len(names))
    for place, name in zip(places, names, strict=True):
        _draw_dot(left, place, conformal.figures[name]["coverage"], CLASS_COLORS.get(name, INK))
    left.axvline(conformal.promised, color=INK, linestyle="--", linewidth=1.2, label="promised")
    left.set_yticks(places, names)
    left.set_title("Sets that hold the truth")
    left.legend(loc="upper left")
    start = np.zeros(len(names))
    for kind, color in (("single", GREEN), ("several", ORANGE), ("empty", SOFT)):
        shares = np.array([conformal.figures[name][kind].value for name in names])
        words = {"single": "one class", "several": "two or three", "empty": "none"}[kind]
        right.barh(places, shares, left=start, color=color, height=0.6, label=words)
        start += shares
    right.set_title("Classes that a set names")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axes in (left, right):
        axes.xaxis.set_major_formatter("{x:.0%}")
    return figure


def describe_coverage(evaluation: CollectionEvaluation) -> str:
    """Say in words what `draw_coverage` shows."""
    conformal = evaluation.conformal
    assert conformal is not None
    parts = [
        f"{name}: {word_estimate('coverage', figures['coverage'])} hold the truth, "
        f"{word_value('single', figures['single'].value)} name one class"
        for name, figures in conformal.figures.items()
    ]
    return f"Sets that promise to hold the truth in {conformal.promised:.0%}. {'; '.join(parts)}."


@styled
def draw_subgroups(evaluation: CollectionEvaluation, *, title: str) -> Figure:
    """Draw sensitivity and specificity of each subgroup, beside those of all images."""
    groups = evaluation.subgroups
    figure = new_figure(title, width=FULL_WIDTH, height=1.2 + 0.3 * len(groups))
    figure.get_layout_engine().set(w_pad=0.1)
    panels = figure.subplots(1, 2, sharey=True)
    everyone = evaluation.scopes["all"].points[evaluation.operating_point]
    for axes, name, color in zip(panels, ("sensitivity", "specificity"), (VERMILION, BLUE), strict=True):
        for row, group in enumerate(groups):
            if name in group.metrics:
                _draw_dot(axes, -row, group.metrics[name], color)
        if np.isfinite(everyone[name].value):
            axes.axvline(everyone[name].value, color=INK, linestyle="--", linewidth=1)
        axes.set_title(f"{name.capitalize()} (dashed: all images)")
        axes.set_xlim(-0.03, 1.03)
        axes.xaxis.set_major_formatter("{x:.0%}")
    panels[0].set_yticks(
        -np.arange(len(groups)),
        [f"{group.trait}: {group.name.partition(',')[0]} ({group.num_images})" for group in groups],
    )
    panels[0].set_ylim(0.6 - len(groups), 0.6)
    return figure


def describe_subgroups(evaluation: CollectionEvaluation) -> str:
    """Say in words what `draw_subgroups` shows."""
    parts = [
        f"{group.name}: "
        + ", ".join(
            f"{name} {word_value(name, group.metrics[name].value)}"
            for name in ("sensitivity", "specificity")
            if name in group.metrics
        )
        for group in evaluation.subgroups
    ]
    return f"Sensitivity and specificity of subgroups. {'; '.join(parts)}."


def _draw_dot(axes: Axes, place: float | np.integer, estimate: Estimate, color: str) -> None:
    axes.errorbar(
        estimate.value, place, xerr=_reach(estimate), fmt="o", color=color, markeredgecolor=INK, elinewidth=1.4
    )


def _reach(estimate: Estimate) -> np.ndarray:
    """Return `(2, 1)`, how far the interval reaches to either side; nothing where there is none."""
    ends = np.array([[estimate.value - estimate.low], [estimate.high - estimate.value]])
    return np.maximum(np.nan_to_num(ends), 0)
