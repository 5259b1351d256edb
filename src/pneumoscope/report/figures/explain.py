"""Heatmaps of each layer, feature maps, patches with the highest activation, and centrality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Explanation
from pneumoscope.report.figures.dots import Dot, draw_dots
from pneumoscope.report.figures.palette import (
    INK,
    NEGATIVE_STYLE,
    POSITIVE_STYLE,
    UNKNOWN_STYLE,
    class_style,
    new_figure,
    shorten,
    styled,
)
from pneumoscope.report.figures.sheet import HEAT_COLORS, Sheet, color_values, overlay_heatmap
from pneumoscope.report.wording import format_estimate, metric_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_EXAMPLES = 6
MOST_MAPS = 12
MOST_FILTERS, MOST_PATCHES = 6, 5
HEAT_TITLE = "heat, relative to the maximum"
PATCH_PIXELS = 48


@styled
def draw_heatmap_examples(explanation: Explanation, *, title: str) -> Figure:
    """Draw an example in each column, grouped by class: the image, then the heatmap of each layer over the image."""
    shown, styles = _pick_examples(explanation), class_style(explanation.label_set)
    titled = [True] + [False] * len(explanation.layers)
    sheet = Sheet(
        title,
        describe_heatmap_examples(explanation),
        titled=titled,
        columns=len(shown),
        pixels=explanation.images.shape[1],
        scaled=True,
    )
    for column, example in enumerate(shown):
        image, name = explanation.images[example], _name_label(explanation, example)
        correct = explanation.labels[example] == explanation.decisions[example]
        title = f"{shorten(name, sheet.num_letters - 9)}, {'correct' if correct else 'wrong'}"
        sheet.put(0, column, image, title=title, frame=styles.get(name, UNKNOWN_STYLE)[0])
        for row, heatmap in enumerate(explanation.heatmaps[example], start=1):
            sheet.put(row, column, overlay_heatmap(image, heatmap))
    sheet.name_rows(("image", *explanation.layers))
    sheet.add_scale(HEAT_COLORS, HEAT_TITLE)
    return sheet.finish()


@styled
def draw_heatmaps(
    image: np.ndarray, heatmaps: np.ndarray, layers: Sequence[str], *, title: str, alt: str = ""
) -> Figure:
    """Draw one image, and the heatmap of each layer over the image.

    Args:
        image: `(H, W)` floats in [0, 1].
        heatmaps: `(layers, H, W)` floats in [0, 1].
        layers: names of the layers.
        title, alt: of the figure.
    """
    sheet = Sheet(title, alt, titled=[True], columns=1 + len(layers), pixels=image.shape[0], scaled=True)
    sheet.put(0, 0, image, title="image")
    for column, (name, heatmap) in enumerate(zip(layers, heatmaps, strict=True), start=1):
        sheet.put(0, column, overlay_heatmap(image, heatmap), title=name)
    sheet.add_scale(HEAT_COLORS, HEAT_TITLE)
    return sheet.finish()


def _pick_examples(explanation: Explanation) -> list[int]:
    """Return a few rows of each class, ordered by class."""
    labels = np.unique(explanation.labels)[:MOST_EXAMPLES]
    each = MOST_EXAMPLES // max(len(labels), 1)
    return [int(row) for label in labels for row in np.flatnonzero(explanation.labels == label)[:each]]


def _name_label(explanation: Explanation, example: int) -> str:
    label, label_set = int(explanation.labels[example]), explanation.label_set
    return label_set.classes[label] if label >= 0 else label_set.negative or "no finding"


def describe_heatmap_examples(explanation: Explanation) -> str:
    """Return the alternative text of `draw_heatmap_examples`."""
    shown = _pick_examples(explanation)
    correct = sum(int(explanation.labels[row] == explanation.decisions[row]) for row in shown)
    counts = Counter(_name_label(explanation, row) for row in shown)
    return (
        f"Heatmaps of the layers {', '.join(explanation.layers)} over "
        f"{', '.join(f'{count} {name}' for name, count in counts.items())} images. The model predicts {correct} of "
        f"{len(shown)} images correctly."
    )


@styled
def draw_feature_maps(explanation: Explanation, *, title: str) -> Figure:
    """Draw the most active feature maps of one test image in each layer, each on its own scale."""
    layers = list(explanation.feature_maps)
    sheet = Sheet(
        title,
        describe_feature_maps(explanation),
        titled=[True] * len(layers),
        columns=MOST_MAPS,
        pixels=explanation.images.shape[1],
    )
    for row, maps in enumerate(explanation.feature_maps.values()):
        strongest = np.argsort(maps.mean(axis=(1, 2)))[::-1][:MOST_MAPS]
        for column, number in enumerate(strongest):
            values = color_values(maps[number], "viridis", low=maps[number].min(), high=maps[number].max())
            sheet.put(row, column, values, title=f"filter {number}")
    sheet.name_rows(layers)
    return sheet.finish()


def describe_feature_maps(explanation: Explanation) -> str:
    """Return the alternative text of `draw_feature_maps`."""
    layers = ", ".join(
        f"{name} ({len(maps)} filters, {maps.shape[1]} x {maps.shape[2]}, {100 * np.mean(maps > 0):.0f}% active)"
        for name, maps in explanation.feature_maps.items()
    )
    return f"The most active feature maps of one test image in {layers}."


@styled
def draw_patches(explanation: Explanation, *, title: str) -> Figure:
    """Draw the image patches with the highest activation of the strongest filters, one filter in each row."""
    layers = list(explanation.patches)
    rows = max(min(len(patches), MOST_FILTERS) for patches in explanation.patches.values())
    columns = len(layers) * (MOST_PATCHES + 1) - 1
    sheet = Sheet(title, describe_patches(explanation), titled=[True] * rows, columns=columns, pixels=PATCH_PIXELS)
    for number, layer in enumerate(layers):
        first = number * (MOST_PATCHES + 1)
        filters = explanation.patch_filters[layer][:MOST_FILTERS]
        for row, (patches, name) in enumerate(zip(explanation.patches[layer], filters, strict=False)):
            for column, patch in enumerate(patches[:MOST_PATCHES]):
                sheet.put(row, first + column, patch, title="" if column else f"{layer}, filter {name}")
    return sheet.finish()


def describe_patches(explanation: Explanation) -> str:
    """Return the alternative text of `draw_patches`."""
    layers = "; ".join(
        f"{name}: filters {', '.join(str(number) for number in numbers[:MOST_FILTERS])}"
        for name, numbers in explanation.patch_filters.items()
    )
    return f"Image patches with the highest activation of the strongest filters. {layers}."


@styled
def draw_centrality(explanation: Explanation, *, title: str) -> Figure:
    """Draw the centrality of the heatmaps of the negative class and of the others, with intervals."""
    figure = new_figure(title, describe_centrality(explanation), height=2.2)
    axes = figure.subplots()
    negative, positive = explanation.label_set.negative or "no finding", explanation.label_set.positive or "findings"
    dots = [
        Dot(negative, explanation.metrics["centrality_negative"], *NEGATIVE_STYLE),
        Dot(positive, explanation.metrics["centrality_positive"], *POSITIVE_STYLE),
    ]
    draw_dots(axes, dots, metric="centrality", title="")
    axes.axvline(1, color=INK, linewidth=0.9, linestyle=":")
    axes.margins(x=0.15)
    axes.set_xlabel("edge of the lungs  \N{LEFTWARDS ARROW}  1: even  \N{RIGHTWARDS ARROW}  middle of the lungs")
    return figure


def describe_centrality(explanation: Explanation) -> str:
    """Return the alternative text of `draw_centrality`."""
    names = [name for name in explanation.metrics if name.startswith("centrality")]
    pairs = "; ".join(f"{metric_title(name)} {format_estimate(name, explanation.metrics[name])}" for name in names)
    return f"Centrality of the heatmaps of the test images with 95% intervals. {pairs}."
