"""Figures of a study, saved in `figures/` and made ready for its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.io.results import AnomalyResult, Classification, EmbeddingMap, Explanation, LearningCurve, Neighbors
from pneumoscope.io.study_folder import order_configurations, split_stage, stage_name
from pneumoscope.labels import TASK_CLASSES
from pneumoscope.progress import track
from pneumoscope.report.comparison import collect_scores
from pneumoscope.report.figures import anomaly, comparison, curves, explain, neighbors, scores
from pneumoscope.report.figures.palette import Picture, make_picture
from pneumoscope.report.wording import TASK_TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

PHANTOM_NOTE = "Drawn phantoms, not radiographs."


@dataclass(frozen=True)
class Plan:
    """A figure to draw.

    Attributes:
        section: of the page: a task, `overview` or `leakage`.
        group: figures of one group stand side by side.
        name: file name without suffix.
        title, caption: above and below the figure.
        draw: returns the figure, called with `title`.
        wide: whether it takes the whole width of the page.
    """

    section: str
    group: str
    name: str
    title: str
    caption: str
    draw: Callable[..., Figure]
    wide: bool = False


def make_pictures(
    stages: dict[str, Any], results: dict[str, Any], figures_dir: Path, *, dataset: Dataset | None = None
) -> dict[str, dict[str, list[Picture]]]:
    """Draw every figure of the stages, and save each as PNG and SVG.

    Args:
        stages: results by stage name.
        results: content of `results.json`.
        figures_dir: folder of the files.
        dataset: for figures of neighbors; without it they are left out.

    Returns:
        Pictures by section and group, in the order of the page.
    """
    note = f"{RESEARCH_USE_ONLY} {PHANTOM_NOTE}" if results["data"]["phantoms"] else RESEARCH_USE_ONLY
    pictures: dict[str, dict[str, list[Picture]]] = {}
    for plan in track(list(_plan_figures(stages, results, dataset)), "Drawing figures"):
        figure = plan.draw(title=plan.title)
        picture = make_picture(figure, figures_dir / plan.name, caption=plan.caption, note=note, wide=plan.wide)
        pictures.setdefault(plan.section, {}).setdefault(plan.group, []).append(picture)
    return pictures


def _plan_figures(stages: dict[str, Any], results: dict[str, Any], dataset: Dataset | None) -> Iterator[Plan]:
    panels = collect_scores(results)
    if panels:
        caption, draw = "Scores on test images with 95% intervals.", partial(comparison.draw_comparison, panels)
        yield Plan("overview", "scores", "comparison", "Comparison", caption, draw, wide=True)
    for kind, plan in _PLANS.items():
        for configuration in order_configurations({split_stage(stage)[0] for stage in stages}):
            stage = stage_name(configuration, kind)
            for one in plan(kind, stages[stage], dataset) if stage in stages else ():
                name = f"{stage}-{one.name}" if one.name else stage
                yield replace(one, name=name, title=f"{one.title}, {configuration}")
    if "leakage" in stages:
        caption, draw = (
            "One nearest-neighbor classifier, two splits.",
            partial(comparison.draw_leakage, stages["leakage"]),
        )
        yield Plan("leakage", "leakage", "leakage", "Leakage of a random image split", caption, draw)


def _plan_curve(section: str, title: str, curve: LearningCurve) -> Plan:
    caption = "Training and validation by epoch; the marked epoch was kept."
    return Plan(section, "curves", "curve", title, caption, partial(curves.draw_learning_curve, curve))


def _plan_classifier(task: str, result: Classification, dataset: Dataset | None) -> Iterator[Plan]:
    yield _plan_curve(task, TASK_TITLES[task], result.curve)
    if "test" in result.evaluations:
        test, title = result.evaluations["test"], f"{TASK_TITLES[task]}, test"
        caption = "Confusion matrix: rows are true classes, columns predictions."
        yield Plan(task, "confusion", "confusion", title, caption, partial(scores.draw_confusion, test))
        caption = "Dots: the most probable class. Dotted: chance."
        yield Plan(task, "roc", "roc", title, caption, partial(scores.draw_roc_and_precision, test))


def _plan_neighbors(kind: str, result: Neighbors, dataset: Dataset | None) -> Iterator[Plan]:
    task = kind.removeprefix("neighbors_")
    number = TASK_TITLES[task].split()[0]
    title, caption = f"Choice of k, {number}", "k was chosen on validation images."
    yield Plan("neighbors", f"k_{task}", "k", title, caption, partial(neighbors.draw_k_scores, result))
    if dataset is not None and len(result.queries):
        caption = (
            "Left a test image, then its nearest training images of other patients with their distances. The frame has "
            "the color of the true class."
        )
        draw = partial(neighbors.draw_neighbors, result, dataset, classes=TASK_CLASSES[task])
        title = f"Nearest training images, {number}"
        yield Plan("neighbors", f"nearest_{task}", "nearest", title, caption, draw, wide=True)


def _plan_map(kind: str, result: EmbeddingMap, dataset: Dataset | None) -> Iterator[Plan]:
    task = kind.removeprefix("map_")
    title = f"t-SNE map, {TASK_TITLES[task].split()[0]}"
    caption = "Faint: training images. Strong: test images, placed afterwards. Axes and gap sizes have no meaning."
    yield Plan("neighbors", f"map_{task}", "", title, caption, partial(neighbors.draw_map, result))


def _plan_anomaly(kind: str, result: AnomalyResult, dataset: Dataset | None) -> Iterator[Plan]:
    is_autoencoder = result.reconstructions is not None
    if result.curve is not None:
        yield _plan_curve(kind, "Autoencoder" if is_autoencoder else "Encoder", result.curve)
    title, caption = "Anomaly scores", "Images at or above a threshold are flagged."
    yield Plan(kind, "errors", "errors", title, caption, partial(anomaly.draw_errors, result))
    if len(result.images):
        names = [] if dataset is None else [str(name) for name in dataset.table["subtype"].iloc[result.examples]]
        title = "Reconstructions" if is_autoencoder else "Anomaly maps"
        between = ", their reconstructions" if is_autoencoder else ""
        caption = f"Test images{between} and anomaly maps (bright: anomalous)."
        draw = partial(anomaly.draw_reconstructions, result, names=names)
        yield Plan(kind, "reconstructions", "reconstructions", title, caption, draw, wide=True)


def _plan_explain(kind: str, result: Explanation, dataset: Dataset | None) -> Iterator[Plan]:
    exists = {
        "gradcam": len(result.images) > 0,
        "feature_maps": bool(result.feature_maps),
        "patches": bool(result.patches),
        "centrality": {"centrality_normal", "centrality_pneumonia"} <= set(result.metrics),
    }
    for name, title, caption, draw in (
        ("gradcam", "Heatmaps", "Warm: evidence for the predicted class.", explain.draw_gradcam),
        ("feature_maps", "Feature maps", "A pneumonia image; most active filters first.", explain.draw_feature_maps),
        ("patches", "Patches with the highest activation", "A row is a filter.", explain.draw_patches),
        ("centrality", "Centrality of the heatmaps", "All test images, with 95% intervals.", explain.draw_centrality),
    ):
        if exists[name]:
            yield Plan(kind, name, name, title, caption, partial(draw, result), wide=name != "centrality")


_PLANS: dict[str, Callable[[str, Any, Dataset | None], Iterator[Plan]]] = {
    **dict.fromkeys(TASK_CLASSES, _plan_classifier),
    **{f"neighbors_{task}": _plan_neighbors for task in TASK_CLASSES},
    **{f"map_{task}": _plan_map for task in TASK_CLASSES},
    "anomaly": _plan_anomaly,
    "explain": _plan_explain,
}
