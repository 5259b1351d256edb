"""Heatmaps of each layer, feature maps, and patches with the highest activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Explanation
from pneumoscope.report.figures.palette import UNKNOWN_STYLE, class_style, shorten, styled
from pneumoscope.report.figures.sheet import HEAT_COLORS, Sheet, color_values, overlay_heatmap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_EXAMPLES = 6
MOST_MAPS = 12
MOST_FILTERS, MOST_PATCHES = 6, 5
HEAT_TITLE = "heat, relative to the maximum"


@styled
def draw_heatmap_examples(explanation: Explanation, *, title: str) -> Figure:
    """Draw an example in each column, grouped by class: the image, then the heatmap of each layer over the image."""
    label_set, shown = explanation.label_set, _pick_examples(explanation)
    styles = class_style(label_set)
    sheet = Sheet(
        title,
        f"Heatmaps of {len(explanation.layers)} layers over {len(shown)} test images, with the classes.",
        titled=[True] + [False] * len(explanation.layers),
        columns=len(shown),
        scaled=True,
    )
    for column, example in enumerate(shown):
        image, label = explanation.images[example], int(explanation.labels[example])
        name = label_set.classes[label] if label >= 0 else label_set.without_finding
        correct = label == explanation.decisions[example]
        title = f"{shorten(name, sheet.num_letters - 9)}, {'correct' if correct else 'wrong'}"
        sheet.put(0, column, image, title=title, frame=styles.get(name, UNKNOWN_STYLE)[0])
        for row, heatmap in enumerate(explanation.heatmaps[example], start=1):
            sheet.put(row, column, overlay_heatmap(image, heatmap))
    sheet.name_rows(("image", *explanation.layers))
    sheet.add_scale(HEAT_COLORS, HEAT_TITLE)
    return sheet.figure


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
    sheet = Sheet(title, alt, titled=[True], columns=1 + len(layers), scaled=True)
    sheet.put(0, 0, image, title="image")
    for column, (name, heatmap) in enumerate(zip(layers, heatmaps, strict=True), start=1):
        sheet.put(0, column, overlay_heatmap(image, heatmap), title=name)
    sheet.add_scale(HEAT_COLORS, HEAT_TITLE)
    return sheet.figure


def _pick_examples(explanation: Explanation) -> list[int]:
    """Return a few rows of each class, ordered by class."""
    labels = np.unique(explanation.labels)[:MOST_EXAMPLES]
    each = MOST_EXAMPLES // max(len(labels), 1)
    return [int(row) for label in labels for row in np.flatnonzero(explanation.labels == label)[:each]]


@styled
def draw_feature_maps(explanation: Explanation, *, title: str) -> Figure:
    """Draw the most active feature maps of one test image in each layer, each on its own scale."""
    layers = list(explanation.feature_maps)
    sheet = Sheet(
        title,
        f"The most active feature maps of one test image in {len(layers)} layers.",
        titled=[True] * len(layers),
        columns=MOST_MAPS,
    )
    for row, maps in enumerate(explanation.feature_maps.values()):
        strongest = np.argsort(maps.mean(axis=(1, 2)))[::-1][:MOST_MAPS]
        for column, number in enumerate(strongest):
            values = color_values(maps[number], "viridis", low=maps[number].min(), high=maps[number].max())
            sheet.put(row, column, values, title=f"filter {number}")
    sheet.name_rows(layers)
    return sheet.figure


@styled
def draw_patches(explanation: Explanation, *, title: str) -> Figure:
    """Draw the image patches with the highest activation of the strongest filters, one filter in each row."""
    layers = list(explanation.patches)
    rows = max(min(len(patches), MOST_FILTERS) for patches in explanation.patches.values())
    columns = len(layers) * (MOST_PATCHES + 1) - 1
    alt = f"Image patches with the highest activation of the strongest filters in {len(layers)} layers."
    sheet = Sheet(title, alt, titled=[True] * rows, columns=columns)
    for number, layer in enumerate(layers):
        first = number * (MOST_PATCHES + 1)
        filters = explanation.patch_filters[layer][:MOST_FILTERS]
        for row, (patches, name) in enumerate(zip(explanation.patches[layer], filters, strict=False)):
            for column, patch in enumerate(patches[:MOST_PATCHES]):
                sheet.put(row, first + column, patch, title="" if column else f"{layer}, filter {name}")
    return sheet.figure
