"""Histogram of anomaly scores; images, reconstructions and anomaly maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import AnomalyResult
from pneumoscope.labels import NO_FINDING
from pneumoscope.report.figures.palette import BLUE, INK, VERMILION, new_figure, put_legend_below, shorten, styled
from pneumoscope.report.figures.sheet import Sheet, color_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_EXAMPLES = 8
NUM_BINS = 40
# Scores above this quantile go into the last bin; a few outliers would compress the histogram.
SHOWN_QUANTILE = 0.995


@styled
def draw_scores(anomaly: AnomalyResult, *, title: str) -> Figure:
    """Draw histograms of the anomaly scores of test images, with the thresholds."""
    alt = f"Histograms of the anomaly scores of {len(anomaly.scores)} test images, with the thresholds."
    figure = new_figure(title, alt, height=3.4)
    axes = figure.subplots()
    top = max(np.quantile(anomaly.scores, SHOWN_QUANTILE), *anomaly.thresholds.values())
    bins = np.linspace(min(anomaly.scores.min(), anomaly.validation_scores.min()), top * 1.02, NUM_BINS)
    validation = np.clip(anomaly.validation_scores, None, bins[-1])
    negative, positive = _name_sides(anomaly)
    for number, (name, color) in enumerate(((negative, BLUE), (positive, VERMILION))):
        scores = np.clip(anomaly.scores[anomaly.labels == number], None, bins[-1])
        style = {"color": color, "alpha": 0.6, "label": f"{name} (test, {len(scores)})"}
        axes.hist(scores, bins, weights=_shares(scores), **style)
    label = f"held-out {negative} ({len(validation)})"
    axes.hist(validation, bins, weights=_shares(validation), histtype="step", color=INK, linewidth=1.1, label=label)
    names = {"quantile": f"{100 * anomaly.false_positive_rate:.0f}% false positives"}
    for name, threshold in anomaly.thresholds.items():
        label = f"threshold: {names.get(name, name)}"
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.4, label=label)
    distances = anomaly.reconstructions is None
    axes.set_xlabel("distance from the nearest normals" if distances else "mean squared error of the reconstruction")
    axes.set_ylabel("share of the images")
    axes.yaxis.set_major_formatter("{x:.0%}")
    put_legend_below(figure, axes, columns=2)
    return figure


def _name_sides(anomaly: AnomalyResult) -> tuple[str, str]:
    """Return names for the negative class and for all others."""
    sides = [sorted({str(name) for name in anomaly.classes[anomaly.labels == number]}) for number in (0, 1)]
    negative, others = (names[0] if len(names) == 1 else "" for names in sides)
    return negative or NO_FINDING, others or "other classes"


def _shares(scores: np.ndarray) -> np.ndarray:
    return np.full(len(scores), 1 / max(len(scores), 1))


@styled
def draw_reconstructions(anomaly: AnomalyResult, *, names: Sequence[str] = (), title: str) -> Figure:
    """Draw an example in each column: image, reconstruction (autoencoders only) and anomaly map.

    Args:
        anomaly: at most eight of its examples are drawn.
        names: class of each example; may be empty.
        title: above the figure.
    """
    count, reconstructions = min(len(anomaly.images), MOST_EXAMPLES), anomaly.reconstructions
    maps, low = anomaly.anomaly_maps[:MOST_EXAMPLES], 0.0
    rows, titled, what = ["image", "reconstruction", "squared error"], [True, False, True], "error"
    if reconstructions is None:
        rows, titled, what = ["image", "distance"], [True, True], "distance"
        low = float(np.quantile(maps, 0.05))  # distances of normals are far from 0, squared errors are not
    high = max(float(np.quantile(maps, 0.995)), low + 1e-6)
    sheet = Sheet(
        title,
        f"{count} test images with their anomaly maps, bright where an image is anomalous.",
        titled=titled,
        columns=count,
        scaled=True,
    )
    for column, anomaly_map in enumerate(maps):
        name = names[column] if len(names) else f"example {column + 1}"
        sheet.put(0, column, anomaly.images[column], title=shorten(name, sheet.num_letters), bold=True)
        if reconstructions is not None:
            sheet.put(1, column, reconstructions[column])
        shown = color_values(anomaly_map, "magma", low=low, high=high)
        sheet.put(len(rows) - 1, column, shown, title=f"{what} {anomaly_map.mean():.4g}")
    sheet.name_rows(rows)
    sheet.add_scale("magma", f"{rows[-1]} of a pixel", low=low, high=high)
    return sheet.figure
