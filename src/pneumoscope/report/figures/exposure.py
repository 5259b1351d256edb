"""Mean gray level by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Audit
from pneumoscope.report.figures.palette import UNKNOWN_STYLE, class_style, new_figure, put_legend_below, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

LINE_STYLES = ("-", "--", "-.", ":")


@styled
def draw_exposures(audit: Audit, dataset: Dataset, *, title: str) -> Figure:
    """Draw histograms of the mean gray level of the images, one line for each class."""
    levels, present = dataset.images.mean(axis=(1, 2)), list_labels(dataset)
    figure = new_figure(title, describe_exposures(audit))
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


def list_labels(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the images of each label, `(n,)` bool: classes or findings, then groups and the images without a finding.

    An image with several findings counts for each.
    """
    label_set, table = dataset.label_set, dataset.table["label"].to_numpy()
    masks = {name: dataset.labels() == number for number, name in enumerate(label_set.classes)}
    if label_set.multi_label:
        findings = dataset.labels()
        masks = dict(zip(label_set.classes, (findings == 1).T, strict=True))
        masks[label_set.negative or "no finding"] = (findings == 0).all(axis=1)
    else:
        masks |= {f"{name}, class unknown": table == name for name in label_set.scored if name not in label_set.classes}
    return {name: rows for name, rows in masks.items() if rows.any()}


def describe_exposures(audit: Audit) -> str:
    """Return the alternative text of `draw_exposures`."""
    parts = [
        f"{name} {levels[0]:.0f} to {levels[-1]:.0f}, median {levels[2]:.0f}" for name, levels in audit.exposure.items()
    ]
    return f"Mean gray level by class, 5% to 95% quantile: {'; '.join(parts)}."
