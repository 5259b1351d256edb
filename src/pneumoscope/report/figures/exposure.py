"""Mean gray level by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Audit
from pneumoscope.report.figures.palette import CLASS_COLORS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

LINE_STYLES = {"normal": "-", "bacterial": "--", "viral": "-.", "unknown": ":"}
SUBTYPE_TITLES = {name: name for name in LINE_STYLES} | {"unknown": "pneumonia, subtype unknown"}


@styled
def draw_exposures(audit: Audit, dataset: Dataset, *, title: str) -> Figure:
    """Draw histograms of the mean gray level of the images, one line for each class."""
    levels, subtypes = dataset.images.mean(axis=(1, 2)), dataset.table["subtype"].to_numpy()
    figure = new_figure(title, describe_exposures(audit))
    axes = figure.subplots()
    bins = np.linspace(np.floor(levels.min()), np.ceil(levels.max()) + 1, 33)
    for name, line in LINE_STYLES.items():
        if (subtypes == name).any():
            counts, _ = np.histogram(levels[subtypes == name], bins)
            style = {"color": CLASS_COLORS[name], "linestyle": line, "linewidth": 1.7}
            axes.stairs(100 * counts / counts.sum(), bins, label=SUBTYPE_TITLES[name], **style)
    axes.set_xlabel("mean gray level of an image (0 = black, 255 = white)")
    axes.set_ylabel("share of the class in %")
    axes.legend()
    return figure


def describe_exposures(audit: Audit) -> str:
    """Return the alternative text of `draw_exposures`."""
    parts = [
        f"{name} {levels[0]:.0f} to {levels[-1]:.0f}, median {levels[2]:.0f}" for name, levels in audit.exposure.items()
    ]
    return f"Mean gray level by class, 5% to 95% quantile: {'; '.join(parts)}."
