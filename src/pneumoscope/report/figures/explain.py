"""Grad-CAM of each layer, feature maps, exciting patches, centrality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Explanation
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.report.figures.palette import CLASS_COLORS, INK, new_figure, styled
from pneumoscope.report.figures.sheet import Sheet, color_values, name_rows
from pneumoscope.report.wording import metric_title, word_estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_EXAMPLES = 6
MOST_MAPS = 12
MOST_FILTERS, MOST_PATCHES = 6, 5
HEAT_OPACITY = 0.65
HEAT_TITLE = "heat, relative to the hottest point"
PATCH_PIXELS = 48


@styled
def draw_gradcam(explanation: Explanation, *, title: str) -> Figure:
    """Draw examples in columns, normals left and pneumonias right: the image, then each layer's heat over it."""
    shown = _pick_examples(explanation)
    titled = [True] + [False] * len(explanation.layers)
    sheet = Sheet(title, titled=titled, columns=len(shown), pixels=explanation.images.shape[1], scaled=True)
    for column, example in enumerate(shown):
        image = explanation.images[example]
        frame = CLASS_COLORS[BINARY_CLASSES[explanation.labels[example]]]
        sheet.put(0, column, image, title=_name_example(explanation, example), frame=frame)
        for row, heatmap in enumerate(explanation.heatmaps[example], start=1):
            sheet.put(row, column, lay_over(image, heatmap))
    name_rows(sheet, ("image", *explanation.layers))
    sheet.add_scale("inferno", HEAT_TITLE)
    return sheet.finish()


@styled
def draw_heatmaps(image: np.ndarray, heatmaps: np.ndarray, layers: Sequence[str], *, title: str) -> Figure:
    """Draw one image beside itself under the heat of each layer.

    Args:
        image: `(H, W)` floats in [0, 1].
        heatmaps: `(layers, H, W)` floats in [0, 1].
        layers: their names.
        title: of the figure.
    """
    sheet = Sheet(title, titled=[True], columns=1 + len(layers), pixels=image.shape[0], scaled=True)
    sheet.put(0, 0, image, title="image")
    for column, (name, heatmap) in enumerate(zip(layers, heatmaps, strict=True), start=1):
        sheet.put(0, column, lay_over(image, heatmap), title=name)
    sheet.add_scale("inferno", HEAT_TITLE)
    return sheet.finish()


def _pick_examples(explanation: Explanation) -> list[int]:
    half = MOST_EXAMPLES // 2
    return [int(row) for number in (0, 1) for row in np.flatnonzero(explanation.labels == number)[:half]]


def _name_example(explanation: Explanation, example: int) -> str:
    truth, decision = explanation.labels[example], explanation.decisions[example]
    return f"{BINARY_CLASSES[truth]}, net {'right' if truth == decision else 'wrong'}"


def lay_over(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return `(H, W, 3)` in [0, 1], an image under heat: the warmer a pixel, the less of the image shows through."""
    opacity = HEAT_OPACITY * np.sqrt(heatmap)[..., None]  # so that faint heat is still seen
    return (1 - opacity) * image[..., None] + opacity * color_values(heatmap, "inferno")


def describe_gradcam(explanation: Explanation) -> str:
    """Say in words what `draw_gradcam` shows."""
    shown = _pick_examples(explanation)
    right = sum(int(explanation.labels[row] == explanation.decisions[row]) for row in shown)
    normals = sum(int(explanation.labels[row] == 0) for row in shown)
    return (
        f"Grad-CAM heat of the layers {', '.join(explanation.layers)} over {normals} normal and "
        f"{len(shown) - normals} pneumonia images; the net decides {right} of the {len(shown)} rightly."
    )


@styled
def draw_feature_maps(explanation: Explanation, *, title: str) -> Figure:
    """Draw one pneumonia image as each layer sees it: its most active feature maps, each on its own scale."""
    layers = list(explanation.feature_maps)
    sheet = Sheet(title, titled=[True] * len(layers), columns=MOST_MAPS, pixels=explanation.images.shape[1])
    for row, maps in enumerate(explanation.feature_maps.values()):
        strongest = np.argsort(maps.mean(axis=(1, 2)))[::-1][:MOST_MAPS]
        for column, number in enumerate(strongest):
            values = color_values(maps[number], "viridis", low=maps[number].min(), high=maps[number].max())
            sheet.put(row, column, values, title=f"filter {number}")
    name_rows(sheet, layers)
    return sheet.finish()


def describe_feature_maps(explanation: Explanation) -> str:
    """Say in words what `draw_feature_maps` shows."""
    layers = ", ".join(
        f"{name} ({len(maps)} filters, {maps.shape[1]} x {maps.shape[2]}, {100 * np.mean(maps > 0):.0f}% active)"
        for name, maps in explanation.feature_maps.items()
    )
    return f"The most active feature maps of one pneumonia image in {layers}."


@styled
def draw_patches(explanation: Explanation, *, title: str) -> Figure:
    """Draw for each layer, a row a filter, the image patches that excite the strongest filters most."""
    layers = list(explanation.patches)
    rows = max(min(len(patches), MOST_FILTERS) for patches in explanation.patches.values())
    columns = len(layers) * (MOST_PATCHES + 1) - 1
    sheet = Sheet(title, titled=[True] * rows, columns=columns, pixels=PATCH_PIXELS)
    for number, layer in enumerate(layers):
        first = number * (MOST_PATCHES + 1)
        filters = explanation.patch_filters[layer][:MOST_FILTERS]
        for row, (patches, name) in enumerate(zip(explanation.patches[layer], filters, strict=False)):
            for column, patch in enumerate(patches[:MOST_PATCHES]):
                sheet.put(row, first + column, patch, title="" if column else f"{layer}, filter {name}")
    return sheet.finish()


def describe_patches(explanation: Explanation) -> str:
    """Say in words what `draw_patches` shows."""
    layers = "; ".join(
        f"{name}: filters {', '.join(str(number) for number in numbers[:MOST_FILTERS])}"
        for name, numbers in explanation.patch_filters.items()
    )
    return f"Image patches that excite the strongest filters most. {layers}."


@styled
def draw_centrality(explanation: Explanation, *, title: str) -> Figure:
    """Draw how central the heat lies in normals and in pneumonias, with intervals."""
    figure = new_figure(title, height=2.2)
    axes = figure.subplots()
    for row, name in enumerate(("pneumonia", "normal")):
        estimate = explanation.metrics[f"centrality_{name}"]
        axes.hlines(row, estimate.low, estimate.high, color=CLASS_COLORS[name], linewidth=3)
        axes.plot(estimate.value, row, "o", color=CLASS_COLORS[name], markeredgecolor=INK, markersize=8)
    axes.axvline(1, color=INK, linewidth=0.9, linestyle=":")
    axes.set_yticks([0, 1], ["pneumonia", "normal"])
    axes.set_ylim(-0.6, 1.6)
    axes.margins(x=0.15)
    axes.set_xlabel("at the lungs' edge  \N{LEFTWARDS ARROW}  1: even  \N{RIGHTWARDS ARROW}  in their middle")
    axes.grid(axis="y", visible=False)
    return figure


def describe_centrality(explanation: Explanation) -> str:
    """Say in words what `draw_centrality` shows."""
    names = [name for name in explanation.metrics if name.startswith("centrality")]
    pairs = "; ".join(f"{metric_title(name)} {word_estimate(name, explanation.metrics[name])}" for name in names)
    return f"Centrality of the Grad-CAM heat over the test images with 95% intervals. {pairs}."
