"""Methods of explanation side by side: their maps, the paper's claim, and what moves the net without sickness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.comparison import ExplanationBenchmark
from pneumoscope.report.figures.explain import HEAT_TITLE, lay_over
from pneumoscope.report.figures.palette import BLUE, CLASS_COLORS, GREEN, INK, new_figure, styled
from pneumoscope.report.figures.sheet import Sheet
from pneumoscope.report.wording import metric_title, word_estimate
from pneumoscope.results import BINARY_CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8
CHANGED = "changed decisions, "


@styled
def draw_methods(benchmark: ExplanationBenchmark, *, title: str) -> Figure:
    """Draw each example with its lesion outlined, and beside it under the heat of each method."""
    num_rows = -(-(1 + len(benchmark.methods)) // COLUMNS)
    count, pixels = len(benchmark.images), benchmark.images.shape[1]
    sheet = Sheet(title, titled=[True] * num_rows * count, columns=COLUMNS, pixels=pixels, scaled=True)
    for example in range(count):
        image = benchmark.images[example] / 255
        tiles = [("lesion outlined", _outline(image, benchmark.masks[example]))]
        for method, heatmaps in zip(benchmark.methods, benchmark.heatmaps, strict=True):
            tiles.append(
                (method.replace("integrated_", "int. ").replace("_", " "), lay_over(image, heatmaps[example] / 255))
            )
        for place, (name, tile) in enumerate(tiles):
            row, column = divmod(place, COLUMNS)
            sheet.put(example * num_rows + row, column, tile, title=name)
    sheet.add_scale("inferno", HEAT_TITLE)
    return sheet.finish()


def _outline(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return `(H, W, 3)`, the image with the rim of the mask drawn on it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    colored = np.repeat(image[..., None], 3, axis=-1)
    colored[mask & ~inner] = [int(GREEN[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return colored


def describe_methods(benchmark: ExplanationBenchmark) -> str:
    """Say in words what `draw_methods` shows."""
    return (
        f"{len(benchmark.images)} images with a lesion of known place under the heat of {len(benchmark.methods)} "
        f"methods: {', '.join(benchmark.methods)}. Class-activation maps look through {benchmark.layer}."
    )


@styled
def draw_claim(benchmark: ExplanationBenchmark, *, title: str) -> Figure:
    """Draw how many normals and pneumonias are lit how centrally, and the mean of each with its interval."""
    figure = new_figure(title, height=2.8)
    axes = figure.subplots()
    lit = np.isfinite(benchmark.centralities)
    edges = np.histogram_bin_edges(benchmark.centralities[lit], 20)
    for label, name in enumerate(BINARY_CLASSES):
        values = benchmark.centralities[lit & (benchmark.labels == label)]
        if not len(values):
            continue
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, edges, weights=weights, color=CLASS_COLORS[name], alpha=0.45, label=name)
        estimate = benchmark.claim[f"centrality_{name}"]
        axes.axvspan(estimate.low, estimate.high, color=CLASS_COLORS[name], alpha=0.35)
        axes.axvline(estimate.value, color=CLASS_COLORS[name])
    axes.axvline(1, color=INK, linewidth=0.9, linestyle=":")
    axes.set_ylabel("share of its images")
    axes.set_xlabel("at the lungs' edge  \N{LEFTWARDS ARROW}  1: even  \N{RIGHTWARDS ARROW}  in their middle")
    axes.legend()
    return figure


def describe_claim(benchmark: ExplanationBenchmark) -> str:
    """Say in words what `draw_claim` shows."""
    pairs = "; ".join(f"{metric_title(name)} {word_estimate(name, figure)}" for name, figure in benchmark.claim.items())
    return f"Distribution over the test images of how centrally the heat lies, by class. {pairs}."


@styled
def draw_probes(benchmark: ExplanationBenchmark, *, title: str) -> Figure:
    """Draw how far each change that is no sickness moves the probability of pneumonia, with intervals."""
    moves = {name: figure for name, figure in benchmark.probes.items() if not name.startswith(CHANGED)}
    figure = new_figure(title, height=0.9 + 0.27 * len(moves))
    axes = figure.subplots()
    for row, estimate in enumerate(moves.values()):
        axes.hlines(-row, estimate.low, estimate.high, color=BLUE, linewidth=3)
        axes.plot(estimate.value, -row, "o", color=BLUE, markeredgecolor=INK, markersize=7)
    axes.axvline(0, color=INK, linewidth=0.9, linestyle=":")
    axes.set_yticks([-row for row in range(len(moves))], list(moves))
    axes.margins(x=0.15)
    axes.set_xlabel("change of the probability of pneumonia")
    axes.grid(axis="y", visible=False)
    return figure


def describe_probes(benchmark: ExplanationBenchmark) -> str:
    """Say in words what `draw_probes` shows."""
    told = []
    for name, figure in benchmark.probes.items():
        if not name.startswith(CHANGED):
            turned = benchmark.probes[f"{CHANGED}{name}"]
            told.append(f"{name} {figure.value:+.3f}, {100 * turned.value:.0f}% of {turned.n} decisions turned")
    return f"How the mean probability of pneumonia answers to changes that are no sickness. {'; '.join(told)}."
