"""Mean gray level by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.data.audit import group_by_label
from pneumoscope.report.figures.palette import UNKNOWN_STYLE, class_style, new_figure, put_legend_below, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

LINE_STYLES = ("-", "--", "-.", ":")


@styled
def draw_exposures(dataset: Dataset, *, title: str) -> Figure:
    """Draw histograms of the mean gray level of the images, one line for each class."""
    levels, present = dataset.images.mean(axis=(1, 2)), group_by_label(dataset.table, dataset.label_set)
    alt = "Histograms of the mean gray level by class. The table below contains the quantiles."
    figure = new_figure(title, alt)
    axes = figure.subplots()
    bins = np.linspace(np.floor(levels.min()), np.ceil(levels.max()) + 1, 33)
    styles = class_style(dataset.label_set)
    for number, (name, rows) in enumerate(present.items()):
        counts, _ = np.histogram(levels[rows], bins)
        color, line = styles.get(name, UNKNOWN_STYLE)[0], LINE_STYLES[number % len(LINE_STYLES)]
        axes.stairs(100 * counts / counts.sum(), bins, label=name, color=color, linestyle=line, linewidth=1.7)
    axes.set_xlabel("mean gray level of an image (0 = black, 255 = white)")
    axes.set_ylabel("share of the class in %")
    put_legend_below(figure, axes)
    return figure
