"""The pictures of a study's tasks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumoscope.report.figures import anomaly, curves, explain, neighbors, scores
from pneumoscope.report.sketch import Sketch
from pneumoscope.report.wording import TASK_TITLES, profile_title
from pneumoscope.results import BINARY_CLASSES, THREE_CLASSES

if TYPE_CHECKING:
    from pneumoscope.radiographs.dataset import Dataset

CLASSES = {"binary": BINARY_CLASSES, "three_class": THREE_CLASSES}
_EXPLAIN_PICTURES = (
    (
        "gradcam",
        "Grad-CAM of each layer",
        explain.draw_gradcam,
        explain.describe_gradcam,
        "Warm: what speaks for the class that the net decided. Early layers see edges; the last sees regions.",
    ),
    (
        "feature_maps",
        "Feature maps of each layer",
        explain.draw_feature_maps,
        explain.describe_feature_maps,
        "One pneumonia image as each layer passes it on, its most active filters first. Bright: the filter responds.",
    ),
    (
        "patches",
        "Patches that excite each layer most",
        explain.draw_patches,
        explain.describe_patches,
        "A row is a filter, with the places in the data set that excite it most.",
    ),
    (
        "centrality",
        "Centrality of the heat",
        explain.draw_centrality,
        explain.describe_centrality,
        "How near the middle of the lungs the heat lies, over all test images, with 95% intervals.",
    ),
)


def plan_classifier(task: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield the curves, confusion and ROC of a classifier."""
    where, stem = f"{TASK_TITLES[task]}, {profile_title(profile)}", f"{profile}-{task}"
    yield Sketch(
        task,
        "curves",
        f"{stem}-curve",
        "Where the dashed line turns away from the full one, the net learns its training images by heart.",
        lambda: curves.draw_learning_curve(result.curve, title=where),
        lambda: curves.describe_learning_curve(result.curve),
    )
    if "test" not in result.evaluations:
        return
    evaluation = result.evaluations["test"]
    yield Sketch(
        task,
        "confusion",
        f"{stem}-confusion",
        "A row holds all test images of one true class; the diagonal is what the net got right.",
        lambda: scores.draw_confusion(evaluation, title=f"{where}: test"),
        lambda: scores.describe_confusion(evaluation),
    )
    yield Sketch(
        task,
        "roc",
        f"{stem}-roc",
        "Each curve runs through all thresholds; the dot is where the most probable class decides. "
        "Dotted: what guessing reaches.",
        lambda: scores.draw_roc_and_precision(evaluation, title=f"{where}: test"),
        lambda: scores.describe_roc_and_precision(evaluation),
    )


def plan_neighbors(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield how many neighbors vote, and examples."""
    task = kind.removeprefix("neighbors_")
    net = f"net {TASK_TITLES[task].split()[0]}, {profile_title(profile)}"
    yield Sketch(
        "neighbors",
        f"k_{task}",
        f"{profile}-{kind}-k",
        "Validation images alone choose how many neighbors vote.",
        lambda: neighbors.draw_k_scores(result, title=f"Number of neighbors, {net}"),
        lambda: neighbors.describe_k_scores(result),
    )
    if dataset is not None and len(result.queries):
        yield Sketch(
            "neighbors",
            f"nearest_{task}",
            f"{profile}-{kind}-nearest",
            "Left a test image, then its nearest training images of other patients with their distance in the "
            "embedding. The frame's color is the true class.",
            lambda: neighbors.draw_neighbors(
                result, dataset, classes=CLASSES[task], title=f"Nearest known images, {net}"
            ),
            lambda: neighbors.describe_neighbors(result, dataset, classes=CLASSES[task]),
            wide=True,
        )


def plan_map(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield a map."""
    task = kind.removeprefix("map_")
    yield Sketch(
        "neighbors",
        f"map_{task}",
        f"{profile}-{kind}",
        "Faint: training images, which made the map. Strong: test images, placed on it afterwards. Nearness means "
        "alike to the net; the axes and the size of gaps mean nothing.",
        lambda: neighbors.plot_map(
            result, title=f"t-SNE map, net {TASK_TITLES[task].split()[0]}, {profile_title(profile)}"
        ),
        lambda: neighbors.describe_map(result),
    )


def plan_anomaly(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield the scores and maps of a model of normals."""
    stem = f"{profile}-anomaly"
    names = [str(name) for name in dataset.table["subtype"].iloc[result.examples]] if dataset is not None else []
    redraws = result.reconstructions is not None
    yield Sketch(
        "anomaly",
        "curves",
        f"{stem}-curve",
        "Mean squared error on normals that the autoencoder trains on and on normals held out."
        if redraws
        else "How the encoder learned to name what is drawn into normals, those it trains on and those held out.",
        lambda: curves.draw_learning_curve(
            result.curve, title=f"{'Autoencoder' if redraws else 'Encoder'}, {profile_title(profile)}"
        ),
        lambda: curves.describe_learning_curve(result.curve),
    )
    yield Sketch(
        "anomaly",
        "errors",
        f"{stem}-errors",
        "An image right of a threshold is flagged. The more the two colors part, the better.",
        lambda: anomaly.draw_errors(result, title=f"Scores, {profile_title(profile)}"),
        lambda: anomaly.describe_errors(result),
    )
    if len(result.images):
        yield Sketch(
            "anomaly",
            "reconstructions",
            f"{stem}-reconstructions",
            "What the autoencoder makes of test images, and where it fails: bright in the last row."
            if redraws
            else "Test images, and where they are unlike normals: bright.",
            lambda: anomaly.draw_reconstructions(
                result,
                names=names,
                title=f"{'Reconstructions' if redraws else 'Anomaly maps'}, {profile_title(profile)}",
            ),
            lambda: anomaly.describe_reconstructions(result, names=names),
            wide=True,
        )


def plan_explain(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield heat-maps, feature maps and patches."""
    for name, title, draw, describe, caption in _EXPLAIN_PICTURES:
        if _has_material(result, name):
            yield Sketch(
                "explain",
                name,
                f"{profile}-explain-{name}",
                caption,
                partial(draw, result, title=f"{title}, {profile_title(profile)}"),
                partial(describe, result),
                wide=name != "centrality",
            )


def _has_material(result: Any, name: str) -> bool:
    return {
        "gradcam": len(result.images) > 0,
        "feature_maps": bool(result.feature_maps),
        "patches": bool(result.patches),
        "centrality": {"centrality_normal", "centrality_pneumonia"} <= set(result.metrics),
    }[name]
