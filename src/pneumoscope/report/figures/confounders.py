"""Metrics with parts of the images hidden, and of regressions without the lungs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoscope.io.results import Confounders
from pneumoscope.report.figures import palette
from pneumoscope.report.figures.dots import Dot, draw_dots
from pneumoscope.report.wording import confounder_title, metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GROUPS = (
    ("metrics", "classifier", palette.GREEN, "o"),
    ("pixel_baselines", "regression without the lungs", palette.VERMILION, "s"),
)


@palette.styled
def draw_confounders(confounders: Confounders, *, title: str) -> Figure:
    """Draw a panel for each metric with the classifier on each input, and the regressions."""
    metrics = list(confounders.metrics["untouched"])
    rows = len(confounders.metrics) + len(confounders.pixel_baselines)
    figure = palette.new_figure(
        title,
        "Metrics with parts of the images hidden, and without the lungs. The tables below contain the values.",
        width=palette.FULL_WIDTH,
        height=1.3 + 0.28 * rows,
    )
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        dots = [
            Dot(confounder_title(name), values.get(metric), color, marker, None if number else label)
            for group, label, color, marker in _GROUPS
            for number, (name, values) in enumerate(getattr(confounders, group).items())
        ]
        draw_dots(axes, dots, metric=metric, title=metric_title(metric))
        axes.axvline(confounders.metrics["untouched"][metric].value, color=palette.SOFT, linewidth=1, linestyle=":")
    palette.put_legend_below(figure, panels[0])
    return figure
