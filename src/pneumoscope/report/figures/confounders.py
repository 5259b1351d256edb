"""What is told with parts of the films hidden, and without any lung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoscope.io.results import Confounders, Estimate
from pneumoscope.report.figures.palette import (
    FULL_WIDTH,
    GREEN,
    INK,
    SOFT,
    VERMILION,
    new_figure,
    put_legend_below,
    styled,
)
from pneumoscope.report.wording import is_percentage, metric_title, shortcut_title, word_estimate, word_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_KINDS = (
    ("metrics", "the classifier", {"color": GREEN, "marker": "o"}),
    ("pixel_baselines", "a regression that sees no lung", {"color": VERMILION, "marker": "s"}),
)


@styled
def draw_shortcuts(shortcuts: Confounders, *, title: str) -> Figure:
    """Draw a panel a figure: the classifier's by what it was shown, and below those of the trivial regressions."""
    metrics = list(next(iter(shortcuts.metrics.values())))
    rows = len(shortcuts.metrics) + len(shortcuts.pixel_baselines)
    figure = new_figure(title, width=FULL_WIDTH, height=1.3 + 0.28 * rows)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        _draw_panel(axes, shortcuts, metric)
    put_legend_below(figure, panels[0])
    return figure


def _draw_panel(axes: Axes, shortcuts: Confounders, metric: str) -> None:
    titles: list[str] = []
    for kind, label, style in _KINDS:
        for number, (name, figures) in enumerate(getattr(shortcuts, kind).items()):
            if metric in figures:
                _draw_dot(axes, -len(titles), metric, figures[metric], label if number == 0 else None, **style)
            titles.append(shortcut_title(name))
    untouched = shortcuts.metrics["untouched"][metric].value
    axes.axvline(untouched, color=SOFT, linewidth=1, linestyle=":")
    axes.set_title(metric_title(metric), fontweight="bold")
    axes.set_yticks([-row for row in range(len(titles))], titles)
    axes.set_ylim(0.6 - len(titles), 0.6)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter("{x:.0%}" if is_percentage(metric) else "{x:.2f}")


def _draw_dot(
    axes: Axes, height: float, metric: str, estimate: Estimate, label: str | None, *, color: str, marker: str
) -> None:
    axes.hlines(height, estimate.low, estimate.high, color=color, linewidth=2.2)
    axes.plot(
        estimate.value,
        height,
        marker,
        color=color,
        markeredgecolor=INK,
        markeredgewidth=0.6,
        markersize=6.5,
        label=label,
    )
    value = word_value(metric, estimate.value)
    axes.annotate(value, (1.01, height), xycoords=("axes fraction", "data"), va="center", fontsize=8)


def describe_shortcuts(shortcuts: Confounders) -> str:
    """Say in words what `draw_shortcuts` shows."""
    sentences = []
    for kind, label, _ in _KINDS:
        listed = "; ".join(
            f"{shortcut_title(name)}: "
            + ", ".join(f"{metric_title(metric)} {word_estimate(metric, found)}" for metric, found in figures.items())
            for name, figures in getattr(shortcuts, kind).items()
        )
        sentences.append(f"{label[:1].upper()}{label[1:]}. {listed}.")
    return " ".join(sentences)
