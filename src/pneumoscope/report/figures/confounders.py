"""Metrics with parts of the images hidden, and of regressions that see no lung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoscope.io.results import Confounders
from pneumoscope.report.figures.dots import Dot, draw_dots
from pneumoscope.report.figures.palette import (
    FULL_WIDTH,
    GREEN,
    SOFT,
    VERMILION,
    new_figure,
    put_legend_below,
    styled,
)
from pneumoscope.report.wording import confounder_title, format_estimate, metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = (
    ("figures", "classifier", GREEN, "o"),
    ("trivial", "regression that sees no lung", VERMILION, "s"),
)


@styled
def draw_confounders(confounders: Confounders, *, title: str) -> Figure:
    """Draw a panel for each metric: the classifier by what it was shown, and the regressions."""
    metrics = list(confounders.figures["untouched"])
    rows = len(confounders.figures) + len(confounders.trivial)
    figure = new_figure(title, describe_confounders(confounders), width=FULL_WIDTH, height=1.3 + 0.28 * rows)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        dots = [
            Dot(confounder_title(name), values.get(metric), color, marker, None if number else label)
            for kind, label, color, marker in _KINDS
            for number, (name, values) in enumerate(getattr(confounders, kind).items())
        ]
        draw_dots(axes, dots, metric=metric, title=metric_title(metric))
        axes.axvline(confounders.figures["untouched"][metric].value, color=SOFT, linewidth=1, linestyle=":")
    put_legend_below(figure, panels[0])
    return figure


def describe_confounders(confounders: Confounders) -> str:
    """Return the alternative text of `draw_confounders`."""
    sentences = []
    for kind, label, *_ in _KINDS:
        listed = "; ".join(
            f"{confounder_title(name)}: "
            + ", ".join(f"{metric_title(metric)} {format_estimate(metric, one)}" for metric, one in values.items())
            for name, values in getattr(confounders, kind).items()
        )
        sentences.append(f"{label.capitalize()}. {listed}.")
    return " ".join(sentences)
