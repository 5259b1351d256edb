"""How far sub-types are contradicted along a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.report.figures.palette import CLASS_COLORS, FULL_WIDTH, INK, SOFT, new_figure, styled
from pneumoscope.report.wording import word_share
from pneumoscope.results import THREE_CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.tasks.label_stretches import ErrorRuns


@styled
def draw_label_stretches(found: ErrorRuns, *, title: str) -> Figure:
    """Draw the share of films around each that look like the other sub-type, in the order of the file names."""
    figure = new_figure(title, width=FULL_WIDTH, height=4.2)
    for axes, number in zip(figure.subplots(2, 1, sharey=True), (1, 2), strict=True):
        kind, rows = THREE_CLASSES[number], found.subtypes == number
        shares, places = found.contradicted[rows], np.arange(rows.sum())
        axes.fill_between(places, 0, shares, where=shares >= found.limit, step="mid", color=SOFT, alpha=0.35)
        axes.plot(places, shares, color=CLASS_COLORS[kind], linewidth=1.2)
        axes.axhline(found.limit, color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(f"labelled {kind}")
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
        axes.set_xlim(0, max(1, len(places) - 1))
        axes.set_ylabel("look like the other")
    axes.set_xlabel("images in the order of their file names")
    return figure


def describe_label_stretches(found: ErrorRuns) -> str:
    """Say in words what `draw_label_stretches` shows."""
    sentences = ["Share of films around each that look like the other sub-type, in the order of the file names."]
    for number in (1, 2):
        rows = found.subtypes == number
        share = word_share(int(found.inside[rows].sum()), int(rows.sum()))
        sentences.append(f"Of those labelled {THREE_CLASSES[number]}, {share} lie where it is over the limit.")
    return " ".join(sentences)
