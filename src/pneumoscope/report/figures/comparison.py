"""Paper, ours and published side by side; what a leaking split adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoscope.io.results import Estimate, Leakage
from pneumoscope.report.comparison import Score
from pneumoscope.report.figures.palette import (
    FULL_WIDTH,
    GREEN,
    INK,
    SKY,
    SOFT,
    VERMILION,
    new_figure,
    put_legend_below,
    styled,
)
from pneumoscope.report.wording import WITHOUT_OWN_PATIENT, is_percentage, metric_title, word_estimate, word_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND_STYLES = {
    "reference": {"color": VERMILION, "marker": "s"},
    "ours": {"color": GREEN, "marker": "o"},
    "published": {"color": SOFT, "marker": "D"},
}


@styled
def draw_comparison(panels: dict[str, list[Score]], *, title: str) -> Figure:
    """Draw a panel a task: each score as a dot on a line of its 95 % interval."""
    names = list(panels)
    pairs = [names[start : start + 2] for start in range(0, len(names), 2)]
    heights = [max(len(panels[name]) for name in pair) for pair in pairs]
    figure = new_figure(title, width=FULL_WIDTH, height=0.7 + 0.65 * len(pairs) + 0.25 * sum(heights))
    figure.get_layout_engine().set(wspace=0.06, hspace=0.05)
    grid = figure.subplots(len(pairs), len(pairs[0]), squeeze=False, height_ratios=heights)
    for axes_row, pair, height in zip(grid, pairs, heights, strict=True):
        for axes in axes_row[len(pair) :]:
            axes.set_axis_off()
        for axes, name in zip(axes_row, pair, strict=False):
            _draw_panel(axes, name, panels[name])
            axes.set_ylim(0.5 - height, 0.5)
    return figure


def _draw_panel(axes: Axes, name: str, scores: list[Score]) -> None:
    from matplotlib.ticker import MaxNLocator

    metric = "auroc" if "AUROC" in name else "accuracy"
    for row, score in enumerate(scores):
        _draw_dot(axes, -row, score.estimate, **KIND_STYLES[score.kind])
        value = word_value(metric, score.estimate.value)
        axes.annotate(value, (1.01, -row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    axes.set_title(name, fontweight="bold")
    axes.set_yticks([-row for row in range(len(scores))], [score.source for score in scores])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:.0%}" if is_percentage(metric) else "{x:.2f}")


def _draw_dot(axes: Axes, height: float, estimate: Estimate, *, color: str, marker: str) -> None:
    axes.hlines(height, estimate.low, estimate.high, color=color, linewidth=2.2)
    axes.plot(estimate.value, height, marker, color=color, markeredgecolor=INK, markeredgewidth=0.6, markersize=6.5)


def describe_comparison(panels: dict[str, list[Score]]) -> str:
    """Say in words what `draw_comparison` shows."""
    sentences = []
    for name, scores in panels.items():
        metric = "auroc" if "AUROC" in name else "accuracy"
        listed = "; ".join(f"{score.source} {word_estimate(metric, score.estimate)}" for score in scores)
        sentences.append(f"{name}. {listed}.")
    return "Scores with 95% intervals. " + " ".join(sentences)


@styled
def draw_leakage(leakage: Leakage, *, title: str) -> Figure:
    """Draw the same labeller's figures under a random image split and under one that keeps patients apart."""
    names = [name for name in leakage.random_split if name in leakage.grouped_split]
    fair = {name: leakage.random_split.get(f"{name}{WITHOUT_OWN_PATIENT}") for name in names}
    figure = new_figure(title, height=1.5 + 0.4 * len(names))
    axes = figure.subplots()
    for offset, split, label, color in (
        (0.26, leakage.random_split, "random image split (leaks)", VERMILION),
        (0.0, fair, "the same images, own patient not looked at", GREEN),
        (-0.26, leakage.grouped_split, "patients kept apart", SKY),
    ):
        for row, name in enumerate(names):
            if (estimate := split[name]) is None:
                continue
            axes.barh(-row + offset, estimate.value, height=0.24, color=color, label=label if row == 0 else None)
            axes.hlines(-row + offset, estimate.low, estimate.high, color=INK, linewidth=1.2)
    axes.set_yticks([-row for row in range(len(names))], [metric_title(name) for name in names])
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1)
    if all(is_percentage(name) for name in names):
        axes.xaxis.set_major_formatter("{x:.0%}")
    put_legend_below(figure, axes)
    return figure


def describe_leakage(leakage: Leakage) -> str:
    """Say in words what `draw_leakage` shows."""
    listed = "; ".join(
        f"{metric_title(name)} {word_estimate(name, estimate)} under the random split and "
        f"{word_estimate(name, leakage.grouped_split[name])} with patients kept apart"
        for name, estimate in leakage.random_split.items()
        if name in leakage.grouped_split
    )
    return f"Nearest-neighbor labelling on raw pixels: {listed}."
