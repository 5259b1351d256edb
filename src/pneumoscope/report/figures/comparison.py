"""Metrics of the reference study, of this study and of publications; data leakage of a random split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoscope.io.results import Leakage
from pneumoscope.report.comparison import Score
from pneumoscope.report.figures import palette
from pneumoscope.report.figures.dots import Dot, draw_dots
from pneumoscope.report.wording import WITHOUT_OWN_PATIENT, format_estimate, is_percentage, metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUP_STYLES = {"reference": (palette.VERMILION, "s"), "ours": (palette.GREEN, "o"), "published": (palette.SOFT, "D")}


@palette.styled
def draw_comparison(panels: dict[str, list[Score]], *, title: str) -> Figure:
    """Draw a panel for each task with a dot and an interval for each score."""
    names = list(panels)
    pairs = [names[start : start + 2] for start in range(0, len(names), 2)]
    heights = [max(len(panels[name]) for name in pair) for pair in pairs]
    figure = palette.new_figure(
        title,
        describe_comparison(panels),
        width=palette.FULL_WIDTH,
        height=0.7 + 0.65 * len(pairs) + 0.25 * sum(heights),
    )
    figure.get_layout_engine().set(wspace=0.06, hspace=0.05)
    grid = figure.subplots(len(pairs), len(pairs[0]), squeeze=False, height_ratios=heights)
    for axes_row, pair, height in zip(grid, pairs, heights, strict=True):
        for axes in axes_row[len(pair) :]:
            axes.set_axis_off()
        for axes, name in zip(axes_row, pair, strict=False):
            dots = [Dot(score.source, score.estimate, *GROUP_STYLES[score.group]) for score in panels[name]]
            draw_dots(axes, dots, metric=_name_metric(name), title=name)
            axes.set_ylim(0.5 - height, 0.5)
    return figure


def _name_metric(panel: str) -> str:
    return "auroc" if "AUROC" in panel else "accuracy"


def describe_comparison(panels: dict[str, list[Score]]) -> str:
    """Return the alternative text of `draw_comparison`."""
    sentences = []
    for name, scores in panels.items():
        listed = "; ".join(f"{score.source} {format_estimate(_name_metric(name), score.estimate)}" for score in scores)
        sentences.append(f"{name}. {listed}.")
    return "Metrics with 95% intervals. " + " ".join(sentences)


@palette.styled
def draw_leakage(leakage: Leakage, *, title: str) -> Figure:
    """Draw metrics of a nearest-neighbor classifier with a random split by image and with a split by patient."""
    names = [name for name in leakage.random_split if name in leakage.grouped_split]
    fair = {name: leakage.random_split.get(f"{name}{WITHOUT_OWN_PATIENT}") for name in names}
    figure = palette.new_figure(title, describe_leakage(leakage), height=1.5 + 0.4 * len(names))
    axes = figure.subplots()
    for offset, split, label, color in (
        (0.26, leakage.random_split, "random split by image", palette.VERMILION),
        (0.0, fair, "random split, same patient excluded", palette.GREEN),
        (-0.26, leakage.grouped_split, "split by patient", palette.SKY),
    ):
        for row, name in enumerate(names):
            if (estimate := split[name]) is None:
                continue
            axes.barh(-row + offset, estimate.value, height=0.24, color=color, label=label if row == 0 else None)
            axes.hlines(-row + offset, estimate.low, estimate.high, color=palette.INK, linewidth=1.2)
    axes.set_yticks([-row for row in range(len(names))], [metric_title(name) for name in names])
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1)
    if all(is_percentage(name) for name in names):
        axes.xaxis.set_major_formatter("{x:.0%}")
    palette.put_legend_below(figure, axes)
    return figure


def describe_leakage(leakage: Leakage) -> str:
    """Return the alternative text of `draw_leakage`."""
    listed = "; ".join(
        f"{metric_title(name)} {format_estimate(name, estimate)} with the random split and "
        f"{format_estimate(name, leakage.grouped_split[name])} with the split by patient"
        for name, estimate in leakage.random_split.items()
        if name in leakage.grouped_split
    )
    return f"Nearest-neighbor classifier on raw pixels: {listed}."
