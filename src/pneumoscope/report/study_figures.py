"""Figures of the report of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.io.results import AnomalyResult, Classification, EmbeddingMap, Explanation, LearningCurve, Neighbors
from pneumoscope.io.study_folder import CLASSIFICATIONS, order_configurations, split_stage, stage_name
from pneumoscope.labels import NO_FINDING
from pneumoscope.progress import track
from pneumoscope.report.comparison import list_titles
from pneumoscope.report.figures import anomaly, curves, explain, neighbors, scores
from pneumoscope.report.figures.palette import PageFigure, save_page_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

_PHANTOM_TAG = "Phantoms, not radiographs."


@dataclass(frozen=True)
class Plan:
    """A figure to draw.

    Attributes:
        name: of the figure among those of its stage; part of the file name.
        title, caption: above and below the figure.
        draw: called with `title`; returns the figure.
        wide: whether the figure takes the full width of the page.
    """

    name: str
    title: str
    caption: str
    draw: Callable[..., Figure]
    wide: bool = False


def draw_figures(
    stages: dict[str, Any], results: dict[str, Any], figures_dir: Path, *, dataset: Dataset | None = None
) -> dict[str, dict[str, list[PageFigure]]]:
    """Draw all figures of a study and save them as SVG.

    Args:
        stages: results by stage name.
        results: content of `results.json`.
        figures_dir: folder of the files.
        dataset: the images; without a dataset there are no figures of nearest neighbors.

    Returns:
        By task of the stage, such as `map_binary`, and name: the figures of all configurations, which appear side by
        side.
    """
    note = f"{RESEARCH_USE_ONLY} {_PHANTOM_TAG}" if results["data"]["phantoms"] else RESEARCH_USE_ONLY
    figures: dict[str, dict[str, list[PageFigure]]] = {}
    for stage, plan in track(list(_plan_figures(stages, list_titles(results), dataset)), "Drawing figures"):
        configuration, task = split_stage(stage)
        drawn = plan.draw(title=f"{plan.title}, {configuration}")
        stem = figures_dir / (f"{stage}-{plan.name}" if plan.name else stage)
        figure = save_page_figure(drawn, stem, caption=plan.caption, note=note, wide=plan.wide)
        figures.setdefault(task, {}).setdefault(plan.name, []).append(figure)
    return figures


def _plan_figures(
    stages: dict[str, Any], titles: dict[str, str], dataset: Dataset | None
) -> Iterator[tuple[str, Plan]]:
    for task, plan in _PLANS.items():
        section = task.partition("_")[2] or task
        for configuration in order_configurations({split_stage(stage)[0] for stage in stages}):
            stage = stage_name(configuration, task)
            for one in plan(titles.get(section, section), stages[stage], dataset) if stage in stages else ():
                yield stage, one


def _plan_curve(title: str, curve: LearningCurve) -> Plan:
    caption = "Training and validation metrics by epoch. The diamond marks the selected epoch."
    return Plan("curve", title, caption, partial(curves.draw_learning_curve, curve))


def _plan_classifier(title: str, result: Classification, dataset: Dataset | None) -> Iterator[Plan]:
    yield _plan_curve(title, result.curve)
    if "test" in result.evaluations:
        test, title = result.evaluations["test"], f"{title}, test"
        caption = "Confusion matrix. Rows are true classes, columns are predicted classes."
        yield Plan("confusion", title, caption, partial(scores.draw_confusion, test))
        caption = "Dots: decisions by the most probable class. Dotted lines: chance."
        yield Plan("roc", title, caption, partial(scores.draw_roc_and_precision, test))


def _plan_neighbors(title: str, result: Neighbors, dataset: Dataset | None) -> Iterator[Plan]:
    number, label_set = title.split()[0], next(iter(result.evaluations.values())).label_set
    caption = "The number of neighbors k is the largest within one standard error of the best on validation images."
    yield Plan("k", f"Choice of k, {number}", caption, partial(neighbors.draw_k_scores, result))
    if dataset is not None and len(result.queries):
        caption = (
            "First column: test images. Other columns: their nearest training images from other patients, with "
            "distances. The color of the frame shows the true class."
        )
        draw = partial(neighbors.draw_neighbors, result, dataset, label_set=label_set)
        yield Plan("nearest", f"Nearest training images, {number}", caption, draw, wide=True)


def _plan_map(title: str, result: EmbeddingMap, dataset: Dataset | None) -> Iterator[Plan]:
    caption = (
        "Small marks: training images. Large marks: test images, added to the finished map. Distances between "
        "clusters have no meaning."
    )
    negative = None if dataset is None else dataset.label_set.negative
    draw = partial(neighbors.draw_map, result, negative=negative)
    yield Plan("", f"t-SNE map, {title.split()[0]}", caption, draw)


def _plan_anomaly(title: str, result: AnomalyResult, dataset: Dataset | None) -> Iterator[Plan]:
    is_autoencoder = result.reconstructions is not None
    if result.curve is not None:
        yield _plan_curve("Autoencoder", result.curve)
    caption = "Histograms of the anomaly score. Images at or above a threshold are flagged."
    yield Plan("scores", "Anomaly scores", caption, partial(anomaly.draw_scores, result))
    if len(result.images):
        labels: list[str] = [] if dataset is None else dataset.table["label"].iloc[result.examples].tolist()
        title = "Reconstructions" if is_autoencoder else "Anomaly maps"
        between = ", their reconstructions" if is_autoencoder else ""
        caption = f"Test images{between} and anomaly maps. Bright areas are anomalous."
        draw = partial(anomaly.draw_reconstructions, result, names=[label or NO_FINDING for label in labels])
        yield Plan("reconstructions", title, caption, draw, wide=True)


def _plan_explain(title: str, result: Explanation, dataset: Dataset | None) -> Iterator[Plan]:
    if len(result.images):
        caption = "Bright colors: evidence for the predicted class."
        yield Plan("heatmaps", "Heatmaps", caption, partial(explain.draw_heatmap_examples, result), wide=True)
    if result.feature_maps:
        caption = "Feature maps of one test image, the most active filters first."
        yield Plan("feature_maps", "Feature maps", caption, partial(explain.draw_feature_maps, result), wide=True)
    if result.patches:
        title, caption = "Patches with the highest activation", "Each row belongs to one filter."
        yield Plan("patches", title, caption, partial(explain.draw_patches, result), wide=True)


_PLANS: dict[str, Callable[[str, Any, Dataset | None], Iterator[Plan]]] = {
    **dict.fromkeys(CLASSIFICATIONS, _plan_classifier),
    **{f"neighbors_{task}": _plan_neighbors for task in CLASSIFICATIONS},
    **{f"map_{task}": _plan_map for task in CLASSIFICATIONS},
    "anomaly": _plan_anomaly,
    "explain": _plan_explain,
}
