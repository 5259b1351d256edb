"""Grad-CAM of each layer, feature maps, exciting patches, centrality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.report.figures.palette import (
    CLASS_COLORS,
    FULL_WIDTH,
    INK,
    frame_image,
    new_figure,
    show_image,
    styled,
)
from pneumoscope.report.wording import metric_title, word_estimate
from pneumoscope.results import BINARY_CLASSES, Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_EXAMPLES = 6
MOST_MAPS = 12
MOST_FILTERS, MOST_PATCHES = 6, 6
HEAT_OPACITY = 0.65


@styled
def draw_gradcam(explanation: Explanation, *, title: str) -> Figure:
    """Draw examples in columns, normals left and pneumonias right: the image, then each layer's heat over it."""
    shown = _pick_examples(explanation)
    rows = 1 + len(explanation.layers)
    figure = new_figure(title, width=FULL_WIDTH, height=1.0 + rows * (FULL_WIDTH - 1.2) / max(len(shown), 4))
    grid = figure.subplots(rows, len(shown), squeeze=False)
    for column, example in enumerate(shown):
        image = explanation.images[example]
        show_image(grid[0, column], image)
        frame_image(grid[0, column], CLASS_COLORS[BINARY_CLASSES[explanation.labels[example]]])
        grid[0, column].set_title(_name_example(explanation, example), fontsize=8.5)
        for axes, heatmap in zip(grid[1:, column], explanation.heatmaps[example], strict=True):
            show_image(axes, _lay_over(image, heatmap))
    for axes, name in zip(grid[:, 0], ("image", *explanation.layers), strict=True):
        axes.text(-0.06, 0.5, name, transform=axes.transAxes, rotation=90, ha="right", va="center")
    _add_heat_scale(figure, grid)
    return figure


def _pick_examples(explanation: Explanation) -> list[int]:
    half = MOST_EXAMPLES // 2
    return [int(row) for number in (0, 1) for row in np.flatnonzero(explanation.labels == number)[:half]]


def _name_example(explanation: Explanation, example: int) -> str:
    truth, decision = explanation.labels[example], explanation.decisions[example]
    verdict = "called so" if truth == decision else f"called {BINARY_CLASSES[decision]}"
    return f"{BINARY_CLASSES[truth]}, {verdict}"


def _lay_over(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return `(H, W, 3)`: the warmer a pixel, the less of the image shows through."""
    from matplotlib import colormaps

    opacity = HEAT_OPACITY * heatmap[..., None]
    return (1 - opacity) * image[..., None] + opacity * colormaps["inferno"](heatmap)[..., :3]


def _add_heat_scale(figure: Figure, grid: Any) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(cmap="inferno"), ax=grid[1:], fraction=0.02, pad=0.01, ticks=[0, 0.5, 1])
    bar.set_label("heat, relative to the hottest point", color=INK)
    bar.outline.set_visible(False)


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
    columns = MOST_MAPS // 2
    figure = new_figure(title, width=FULL_WIDTH, height=0.6 + len(layers) * 2 * (FULL_WIDTH - 0.5) / (2 * columns))
    for panel, layer in zip(np.atleast_1d(figure.subfigures(len(layers), 1)), layers, strict=True):
        maps = explanation.feature_maps[layer]
        panel.suptitle(f"{layer}: {maps.shape[1]} x {maps.shape[2]} pixels, {len(maps)} filters", x=0.01, ha="left")
        strongest = np.argsort(maps.mean(axis=(1, 2)))[::-1][:MOST_MAPS]
        grid = panel.subplots(1, MOST_MAPS)
        for axes in grid:
            axes.set_axis_off()
        for axes, number in zip(grid, strongest, strict=False):
            show_image(axes, maps[number], cmap="viridis", low=maps[number].min(), high=maps[number].max() or 1.0)
            axes.set_title(f"{number}", fontsize=8)
    return figure


def describe_feature_maps(explanation: Explanation) -> str:
    """Say in words what `draw_feature_maps` shows."""
    layers = ", ".join(
        f"{name} ({len(maps)} filters of {maps.shape[1]} x {maps.shape[2]}, {100 * np.mean(maps > 0):.0f}% of it active)"
        for name, maps in explanation.feature_maps.items()
    )
    return f"The most active feature maps of one pneumonia image in {layers}."


@styled
def draw_patches(explanation: Explanation, *, title: str) -> Figure:
    """Draw for each layer, a row a filter, the image patches that excite the strongest filters most."""
    layers = list(explanation.patches)
    rows = max(min(len(patches), MOST_FILTERS) for patches in explanation.patches.values())
    figure = new_figure(title, width=FULL_WIDTH, height=1.0 + rows * 0.62)
    for panel, layer in zip(np.atleast_1d(figure.subfigures(1, len(layers))), layers, strict=True):
        patches = explanation.patches[layer][:MOST_FILTERS, :MOST_PATCHES]
        panel.suptitle(f"{layer}: patches of {patches.shape[2]} pixels", x=0.02, ha="left")
        grid = panel.subplots(rows, patches.shape[1], squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes_row, row, number in zip(grid, patches, explanation.patch_filters[layer], strict=False):
            for axes, patch in zip(axes_row, row, strict=True):
                show_image(axes, patch)
            axes_row[0].text(
                -0.15, 0.5, f"{number}", transform=axes_row[0].transAxes, ha="right", va="center", fontsize=8
            )
    return figure


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
