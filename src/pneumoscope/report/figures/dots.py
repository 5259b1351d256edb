"""Metrics as dots with lines for their 95 % intervals, one metric in each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Estimate
from pneumoscope.report.figures.palette import INK
from pneumoscope.report.wording import format_value, is_percentage

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Dot:
    """One row.

    Attributes:
        name: on the left.
        estimate: the metric; the row is empty if None.
        color, marker: of the dot.
        label: in the legend.
    """

    name: str
    estimate: Estimate | None
    color: str
    marker: str = "o"
    label: str | None = None


def draw_dots(axes: Axes, dots: Sequence[Dot], *, metric: str, title: str) -> None:
    """Draw rows from top to bottom, each with its value on the right."""
    from matplotlib.ticker import MaxNLocator

    for row, dot in enumerate(dots):
        if dot.estimate is None:
            continue
        axes.hlines(-row, dot.estimate.low, dot.estimate.high, color=dot.color, linewidth=2.2)
        style = {"color": dot.color, "markeredgecolor": INK, "markeredgewidth": 0.6, "markersize": 6.5}
        axes.plot(dot.estimate.value, -row, dot.marker, label=dot.label, **style)
        value = format_value(metric, dot.estimate.value)
        axes.annotate(value, (1.01, -row), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_title(title, fontweight="bold")
    axes.set_yticks([-row for row in range(len(dots))], [dot.name for dot in dots])
    axes.set_ylim(0.6 - len(dots), 0.6)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:.0%}" if is_percentage(metric) else "{x:.2f}")


def draw_intervals(axes: Axes, places: Sequence[float], estimates: Sequence[Estimate], **style: object) -> None:
    """Draw estimates with vertical intervals at positions on the x axis."""
    values, reach = [estimate.value for estimate in estimates], measure_reach(estimates)
    axes.errorbar(places, values, yerr=reach, markeredgecolor=INK, elinewidth=1, **style)


def measure_reach(estimates: Sequence[Estimate]) -> np.ndarray:
    """Return `(2, n)` lengths of the intervals below and above the values; 0 where undefined."""
    ends = [[one.value - one.low for one in estimates], [one.high - one.value for one in estimates]]
    return np.asarray(np.maximum(np.nan_to_num(np.array(ends)), 0))
