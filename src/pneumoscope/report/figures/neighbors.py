"""Choice of k, nearest neighbors and t-SNE map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.data.source import shorten_name
from pneumoscope.io.results import EmbeddingMap, LabelSet, Neighbors
from pneumoscope.report.figures import palette
from pneumoscope.report.figures.palette import class_style
from pneumoscope.report.figures.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

MOST_QUERIES = 4
MOST_NAMED = 24  # new images with a name on the map
MOST_LETTERS = 36  # of each name
METHOD_TITLES = {"tsne": "t-SNE", "umap": "UMAP"}


@palette.styled
def draw_k_scores(neighbors: Neighbors, *, title: str) -> Figure:
    """Draw the validation balanced accuracy for each number of neighbors."""
    scores = sorted((int(k), score) for k, score in neighbors.k_scores.items())
    listed = ", ".join(f"{100 * score:.1f}% at k = {k}" for k, score in scores)
    alt = f"Validation balanced accuracy by number of neighbors: {listed}. Chosen: k = {neighbors.k}."
    figure = palette.new_figure(title, alt, height=2.8)
    axes = figure.subplots()
    axes.plot(*zip(*scores, strict=True), color=palette.BLUE, marker="o", markersize=4, label="validation")
    chosen = {"color": palette.ORANGE, "markeredgecolor": palette.INK, "label": f"chosen: k = {neighbors.k}"}
    axes.plot(neighbors.k, dict(scores)[neighbors.k], "D", **chosen)
    axes.set_xscale("log")
    axes.set_xticks([k for k, _ in scores], [str(k) for k, _ in scores])
    axes.minorticks_off()
    axes.set(xlabel="number of neighbors (k)", ylabel="balanced accuracy")
    palette.put_legend_below(figure, axes)
    return figure


@palette.styled
def draw_neighbors(neighbors: Neighbors, dataset: Dataset, *, label_set: LabelSet, title: str) -> Figure:
    """Draw test images with their nearest training images, framed in the color of the class.

    Args:
        neighbors: at most four of its queries are drawn, evenly spaced.
        dataset: images and labels for the indices in `neighbors`.
        label_set: classes of the labels.
        title: above the figure.
    """
    num_queries, names, styles = len(neighbors.queries), name_labels(dataset, label_set), class_style(label_set)
    shown = np.linspace(0, num_queries - 1, min(num_queries, MOST_QUERIES)).astype(int)
    sheet = Sheet(
        title,
        f"{len(shown)} test images, each with its nearest training images from other patients.",
        titled=[True] * len(shown),
        columns=1 + neighbors.nearest.shape[1],
    )
    for row, query in enumerate(shown):
        indices = [int(neighbors.queries[query]), *(int(index) for index in neighbors.nearest[query])]
        for column, index in enumerate(indices):
            name = palette.shorten(names[index], sheet.num_letters - 6)
            text = f"{name}, {neighbors.distances[query, column - 1]:.2f}" if column else f"test: {name}"
            color, _ = styles.get(names[index], palette.UNKNOWN_STYLE)
            sheet.put(row, column, dataset.images[index] / 255, title=text, frame=color, bold=not column)
    return sheet.figure


def name_labels(dataset: Dataset, label_set: LabelSet) -> list[str]:
    """Return the label of each image as text: its class, or its findings."""
    labels = dataset.labels(label_set)
    if not label_set.multi_label:
        return [label_set.classes[label] if label >= 0 else "unknown" for label in labels.tolist()]
    none = label_set.without_finding
    return [
        ", ".join(name for name, present in zip(label_set.classes, row, strict=True) if present == 1) or none
        for row in labels.tolist()
    ]


@palette.styled
def draw_map(embedding_map: EmbeddingMap, *, negative: str | None = None, title: str) -> Figure:
    """Draw the map: small marks for training, large marks for test, stars for new images (named if at most 24).

    Args:
        embedding_map: the map.
        negative: the negative class; by default guessed from the classes.
        title: above the figure.
    """
    styles = class_style(embedding_map.classes, negative)
    counts = [int((embedding_map.origins == origin).sum()) for origin in ("train", "test", "new")]
    method = METHOD_TITLES[embedding_map.method]
    alt = (
        f"{method} map of {counts[0]} training, {counts[1]} test and {counts[2]} new images, "
        f"colored by class; trustworthiness {embedding_map.trustworthiness:.3f}."
    )
    figure = palette.new_figure(title, alt, height=5.2)
    axes = figure.subplots()
    for number, name in enumerate(embedding_map.classes):
        _draw_class_points(axes, embedding_map, number, styles[name])
    new = embedding_map.origins == "new"
    if new.any():
        _draw_new_images(axes, embedding_map.coordinates[new], embedding_map.names[new])
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    axes.set_aspect("equal", adjustable="datalim")
    palette.put_legend_below(figure, axes, columns=4)
    return figure


def _draw_class_points(axes: Axes, embedding_map: EmbeddingMap, number: int, style: tuple[str, str]) -> None:
    of_class, origins = embedding_map.labels == number, embedding_map.origins
    train, test = (embedding_map.coordinates[of_class & (origins == origin)] for origin in ("train", "test"))
    color, marker = style
    axes.scatter(*train.T, s=8, c=color, marker=marker, alpha=0.4, linewidths=0, rasterized=True)
    label = f"{embedding_map.classes[number]} (test, {len(test)})"
    axes.scatter(*test.T, s=20, c=color, marker=marker, edgecolors=palette.INK, linewidths=0.5, label=label)


def _draw_new_images(axes: Axes, coordinates: np.ndarray, names: np.ndarray) -> None:
    """Draw stars for new images, and a column of their names next to the map if the names fit."""
    style = {"color": "#F0E442", "markeredgecolor": palette.INK, "markersize": 17, "linestyle": "none"}
    axes.plot(*coordinates.T, "*", label="new", **style)
    if len(names) > MOST_NAMED:
        return
    heights = (len(names) - np.arange(len(names)) - 0.5) / len(names)
    for height, row in zip(heights, np.argsort(-coordinates[:, 1]), strict=True):
        axes.annotate(
            shorten_name(names[row], most=MOST_LETTERS),
            coordinates[row],
            xytext=(1.02, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "color": palette.SOFT, "linewidth": 0.6},
        )
