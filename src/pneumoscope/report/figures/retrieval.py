"""Neighbors measured: what is found at which depth, errors where neighbors contradict, distance and rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.report.figures.palette import (
    BLUE,
    CLASS_COLORS,
    INK,
    SOFT,
    VERMILION,
    new_figure,
    put_legend_below,
    styled,
)
from pneumoscope.report.wording import word_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pneumoscope.comparison import NeighborsBenchmark
    from pneumoscope.results import Estimate

_DEPTHS = ("precision_at_1", "precision_at_5", "precision_at_10")
_NUM_BINS = 30


@styled
def draw_precision(benchmark: NeighborsBenchmark, *, title: str) -> Figure:
    """Draw the share of images found that are of the right class, by depth and class, a panel a method."""
    methods = _list_whole(benchmark)
    figure = new_figure(title, width=3.2 * max(2, len(methods)), height=3.4)
    panels = np.atleast_1d(figure.subplots(1, len(methods), sharey=True))
    for axes, (method, found) in zip(panels, methods.items(), strict=True):
        for place, (name, color) in enumerate(_name_classes(found).items()):
            _draw_dots(axes, [found[f"{depth}{name}"] for depth in _DEPTHS], place, color, name.strip("_") or "all")
        axes.set_title(method)
        axes.set_xticks(range(len(_DEPTHS)), ["1st", "first 5", "first 10"])
        axes.set_ylim(0, 1.02)
        if "map_pneumonia" in found:
            axes.legend(loc="lower left")
    panels[0].set_ylabel("of the same class")
    put_legend_below(figure, panels[0])
    return figure


def describe_precision(benchmark: NeighborsBenchmark) -> str:
    """Say in words what `draw_precision` shows."""
    parts = [
        f"{method}: {word_estimate('precision', found['precision_at_1'])} of the first, "
        f"{word_estimate('precision', found['precision_at_10'])} of the first ten"
        for method, found in _list_whole(benchmark).items()
    ]
    return f"Share of the images found for test images that are of their class, by method. {'; '.join(parts)}."


@styled
def draw_doubt(benchmark: NeighborsBenchmark, *, title: str) -> Figure:
    """Draw the net's error rate where its neighbors agree and where they differ."""
    methods = _list_doubted(benchmark)
    figure = new_figure(title, height=2.4 + 0.3 * len(methods))
    axes = figure.subplots()
    for place, (method, found) in enumerate(methods.items()):
        for offset, name, color, marker in (
            (-0.12, "error_where_agreeing", BLUE, "o"),
            (0.12, "error_where_differing", VERMILION, "D"),
        ):
            rate = found[name]
            label = {"label": name.replace("error_where_", "neighbors ")} if place == 0 else {}
            axes.plot([rate.low, rate.high], [place + offset] * 2, color=color)
            axes.plot(rate.value, place + offset, marker, color=color, linestyle="none", **label)
            axes.annotate(f"  n = {rate.n}", (rate.high, place + offset), va="center", fontsize=8)
        axes.text(0, place - 0.32, method, transform=axes.get_yaxis_transform(), ha="left", fontsize=8.5)
    axes.set_ylim(len(methods) - 0.5, -0.6)
    axes.set_xlim(-0.02, 1)
    axes.set_yticks([])
    axes.set_xlabel("error rate of the net")
    put_legend_below(figure, axes)
    return figure


def describe_doubt(benchmark: NeighborsBenchmark) -> str:
    """Say in words what `draw_doubt` shows."""
    parts = []
    for method, found in _list_doubted(benchmark).items():
        differing, agreeing = found["error_where_differing"], found["error_where_agreeing"]
        rate = word_estimate("share", differing)
        parts.append(
            f"{method}: {rate} where the neighbors differ ({differing.n} images), "
            f"{word_estimate('share', agreeing)} elsewhere"
        )
    return f"Error rate of the net. {'; '.join(parts)}."


@styled
def draw_distances(benchmark: NeighborsBenchmark, *, title: str) -> Figure:
    """Draw how far test images lie from the known ones, told rightly and wrongly, with the distance of rejection."""
    figure = new_figure(title)
    axes = figure.subplots()
    there = np.isfinite(benchmark.distances)
    bins = np.linspace(0, benchmark.distances[there].max() * 1.02, _NUM_BINS + 1)
    for right, color, label in ((True, BLUE, "told rightly"), (False, VERMILION, "told wrongly")):
        shown = benchmark.distances[there & (benchmark.right == right)]
        axes.hist(shown, bins, color=color, alpha=0.6, label=f"{label} ({len(shown)})")
    axes.axvline(benchmark.threshold, color=INK, linestyle="--", label="rejected beyond")
    axes.set_xlabel("mean distance to the five nearest known images")
    axes.set_ylabel("test images")
    put_legend_below(figure, axes)
    return figure


def describe_distances(benchmark: NeighborsBenchmark) -> str:
    """Say in words what `draw_distances` shows."""
    beyond = benchmark.distances > benchmark.threshold
    wrong = int((beyond & ~benchmark.right).sum())
    return (
        f"Mean distance of {len(beyond)} test images to their five nearest known images. {int(beyond.sum())} lie "
        f"beyond {benchmark.threshold:.2f} and are rejected; the neighbors tell {wrong} of these wrongly."
    )


def _list_whole(benchmark: NeighborsBenchmark) -> dict[str, dict[str, Estimate]]:
    return {
        method: found for method, found in benchmark.table.figures.items() if "map" in found and "accuracy" in found
    }


def _list_doubted(benchmark: NeighborsBenchmark) -> dict[str, dict[str, Estimate]]:
    return {method: found for method, found in benchmark.table.figures.items() if "error_where_differing" in found}


def _name_classes(found: dict[str, Estimate]) -> dict[str, str]:
    """Return the endings of the figures, for all images and by class, with their colors."""
    classes = [name.removeprefix("map_") for name in found if name.startswith("map_")]
    return {"": SOFT, **{f"_{name}": CLASS_COLORS.get(name, SOFT) for name in classes}}


def _draw_dots(axes: Axes, rates: list[Estimate], place: int, color: str, label: str) -> None:
    at = np.arange(len(rates)) + 0.12 * (place - 1.5)
    axes.vlines(at, [rate.low for rate in rates], [rate.high for rate in rates], color=color)
    axes.plot(at, [rate.value for rate in rates], "o", color=color, markersize=4, label=label)
