"""Figures of the report of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
        section: of the page, a task.
        group: figures of one group appear side by side.
        name: file name without suffix.
        title, caption: above and below the figure.
        draw: called with `title`; returns the figure.
        wide: whether the figure takes the full width of the page.
    """

    section: str
    group: str
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
        Figures by section and group, in the order of the page.
    """
    note = f"{RESEARCH_USE_ONLY} {_PHANTOM_TAG}" if results["data"]["phantoms"] else RESEARCH_USE_ONLY
    figures: dict[str, dict[str, list[PageFigure]]] = {}
    for plan in track(list(_plan_figures(stages, results, dataset)), "Drawing figures"):
        drawn = plan.draw(title=plan.title)
        figure = save_page_figure(drawn, figures_dir / plan.name, caption=plan.caption, note=note, wide=plan.wide)
        figures.setdefault(plan.section, {}).setdefault(plan.group, []).append(figure)
    return figures


def _plan_figures(stages: dict[str, Any], results: dict[str, Any], dataset: Dataset | None) -> Iterator[Plan]:
    titles = list_titles(results)
    for kind, plan in _PLANS.items():
        task = kind.partition("_")[2] or kind
        title = titles.get(task, task)
        for configuration in order_configurations({split_stage(stage)[0] for stage in stages}):
            stage = stage_name(configuration, kind)
            for one in plan(task, title, stages[stage], dataset) if stage in stages else ():
                name = f"{stage}-{one.name}" if one.name else stage
                yield replace(one, name=name, title=f"{one.title}, {configuration}")


def _plan_curve(section: str, title: str, curve: LearningCurve) -> Plan:
    caption = "Training and validation metrics by epoch. The diamond marks the selected epoch."
    return Plan(section, "curves", "curve", title, caption, partial(curves.draw_learning_curve, curve))


def _plan_classifier(task: str, title: str, result: Classification, dataset: Dataset | None) -> Iterator[Plan]:
    yield _plan_curve(task, title, result.curve)
    if "test" in result.evaluations:
        test, title = result.evaluations["test"], f"{title}, test"
        caption = "Confusion matrix. Rows are true classes, columns are predicted classes."
        yield Plan(task, "confusion", "confusion", title, caption, partial(scores.draw_confusion, test))
        caption = "Dots: decisions by the most probable class. Dotted lines: chance."
        yield Plan(task, "roc", "roc", title, caption, partial(scores.draw_roc_and_precision, test))


def _plan_neighbors(task: str, title: str, result: Neighbors, dataset: Dataset | None) -> Iterator[Plan]:
    number, label_set = title.split()[0], next(iter(result.evaluations.values())).label_set
    title, caption = f"Choice of k, {number}", "The number of neighbors k was chosen on validation images."
    yield Plan("neighbors", f"k_{task}", "k", title, caption, partial(neighbors.draw_k_scores, result))
    if dataset is not None and len(result.queries):
        caption = (
            "First column: test images. Other columns: their nearest training images from other patients, with "
            "distances. The color of the frame shows the true class."
        )
        draw = partial(neighbors.draw_neighbors, result, dataset, label_set=label_set)
        title = f"Nearest training images, {number}"
        yield Plan("neighbors", f"nearest_{task}", "nearest", title, caption, draw, wide=True)


def _plan_map(task: str, title: str, result: EmbeddingMap, dataset: Dataset | None) -> Iterator[Plan]:
    title = f"t-SNE map, {title.split()[0]}"
    caption = (
        "Small marks: training images. Large marks: test images, added to the finished map. Distances between "
        "clusters have no meaning."
    )
    negative = None if dataset is None else dataset.label_set.negative
    draw = partial(neighbors.draw_map, result, negative=negative)
    yield Plan("neighbors", f"map_{task}", "", title, caption, draw)


def _plan_anomaly(kind: str, title: str, result: AnomalyResult, dataset: Dataset | None) -> Iterator[Plan]:
    is_autoencoder = result.reconstructions is not None
    if result.curve is not None:
        yield _plan_curve(kind, "Autoencoder", result.curve)
    title, caption = "Anomaly scores", "Histograms of the anomaly score. Images at or above a threshold are flagged."
    yield Plan(kind, "scores", "scores", title, caption, partial(anomaly.draw_scores, result))
    if len(result.images):
        labels: list[str] = [] if dataset is None else dataset.table["label"].iloc[result.examples].tolist()
        names = [label or NO_FINDING for label in labels]
        title = "Reconstructions" if is_autoencoder else "Anomaly maps"
        between = ", their reconstructions" if is_autoencoder else ""
        caption = f"Test images{between} and anomaly maps. Bright areas are anomalous."
        draw = partial(anomaly.draw_reconstructions, result, names=names)
        yield Plan(kind, "reconstructions", "reconstructions", title, caption, draw, wide=True)


def _plan_explain(kind: str, title: str, result: Explanation, dataset: Dataset | None) -> Iterator[Plan]:
    exists = {
        "heatmaps": len(result.images) > 0,
        "feature_maps": bool(result.feature_maps),
        "patches": bool(result.patches),
    }
    for name, title, caption, draw in (
        ("heatmaps", "Heatmaps", "Bright colors: evidence for the predicted class.", explain.draw_heatmap_examples),
        (
            "feature_maps",
            "Feature maps",
            "Feature maps of one test image, the most active filters first.",
            explain.draw_feature_maps,
        ),
        ("patches", "Patches with the highest activation", "Each row belongs to one filter.", explain.draw_patches),
    ):
        if exists[name]:
            yield Plan(kind, name, name, title, caption, partial(draw, result), wide=True)


_PLANS: dict[str, Callable[[str, str, Any, Dataset | None], Iterator[Plan]]] = {
    **dict.fromkeys(CLASSIFICATIONS, _plan_classifier),
    **{f"neighbors_{task}": _plan_neighbors for task in CLASSIFICATIONS},
    **{f"map_{task}": _plan_map for task in CLASSIFICATIONS},
    "anomaly": _plan_anomaly,
    "explain": _plan_explain,
}
