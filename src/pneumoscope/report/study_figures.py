"""The pictures of a study's tasks, before they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pneumoscope.io.study_folder import stage_name
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.report.figures import anomaly, curves, explain, neighbors, scores
from pneumoscope.report.wording import TASK_TITLES, configuration_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

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

FigurePair = tuple["Callable[..., Figure]", "Callable[..., str]"]


@dataclass(frozen=True)
class Sketch:
    """A picture not yet drawn.

    Attributes:
        section: part of the page that it belongs to: a task, `overview` or `leakage`.
        group: pictures of one group stand side by side.
        name: file name without suffix.
        title: above the figure.
        caption: how to read it.
        figure: its `draw_…`, of `args`, `options` and `title`, and its `describe_…`, of `args` and `options`.
        args: what is drawn.
        options: how.
        wide: whether it takes the whole width of the page.
    """

    section: str
    group: str
    name: str
    title: str
    caption: str
    figure: FigurePair
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    wide: bool = False


def plan_classifier(task: str, configuration: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield the curves, confusion and ROC of a classifier."""
    title, stem = f"{TASK_TITLES[task]}, {configuration_title(configuration)}", stage_name(configuration, task)
    caption = "Where the dashed line turns away from the full one, the net learns its training images by heart."
    figure: FigurePair = curves.draw_learning_curve, curves.describe_learning_curve
    yield Sketch(task, "curves", f"{stem}-curve", title, caption, figure, (result.curve,))
    if "test" not in result.evaluations:
        return
    evaluation, title = result.evaluations["test"], f"{title}: test"
    caption = "A row holds all test images of one true class; the diagonal is what the net got right."
    figure = scores.draw_confusion, scores.describe_confusion
    yield Sketch(task, "confusion", f"{stem}-confusion", title, caption, figure, (evaluation,))
    caption = (
        "Each curve runs through all thresholds; the dot is where the most probable class decides. "
        "Dotted: what guessing reaches."
    )
    figure = scores.draw_roc_and_precision, scores.describe_roc_and_precision
    yield Sketch(task, "roc", f"{stem}-roc", title, caption, figure, (evaluation,))


def plan_neighbors(kind: str, configuration: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield how many neighbors vote, and examples."""
    task, stem = kind.removeprefix("neighbors_"), stage_name(configuration, kind)
    net = f"net {TASK_TITLES[task].split()[0]}, {configuration_title(configuration)}"
    title, caption = f"Number of neighbors, {net}", "Validation images alone choose how many neighbors vote."
    figure: FigurePair = neighbors.draw_k_scores, neighbors.describe_k_scores
    yield Sketch("neighbors", f"k_{task}", f"{stem}-k", title, caption, figure, (result,))
    if dataset is not None and len(result.queries):
        title, caption = (
            f"Nearest known images, {net}",
            (
                "Left a test image, then its nearest training images of other patients with their distance in the "
                "embedding. The frame's color is the true class."
            ),
        )
        figure = (neighbors.draw_neighbors, neighbors.describe_neighbors)
        options = {"classes": CLASSES[task]}
        shown = (result, dataset)
        yield Sketch(
            "neighbors", f"nearest_{task}", f"{stem}-nearest", title, caption, figure, shown, options, wide=True
        )


def plan_map(kind: str, configuration: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield a map."""
    task = kind.removeprefix("map_")
    title = f"t-SNE map, net {TASK_TITLES[task].split()[0]}, {configuration_title(configuration)}"
    caption = (
        "Faint: training images, which made the map. Strong: test images, placed on it afterwards. Nearness means "
        "alike to the net; the axes and the size of gaps mean nothing."
    )
    figure: FigurePair = neighbors.plot_map, neighbors.describe_map
    yield Sketch("neighbors", f"map_{task}", stage_name(configuration, kind), title, caption, figure, (result,))


def plan_anomaly(kind: str, configuration: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield the scores and maps of a model of normals."""
    stem, whose, redraws = (
        stage_name(configuration, "anomaly"),
        configuration_title(configuration),
        result.reconstructions is not None,
    )
    caption = (
        "Mean squared error on normals that the autoencoder trains on and on normals held out."
        if redraws
        else "How the encoder learned to name what is drawn into normals, those it trains on and those held out."
    )
    title = f"{'Autoencoder' if redraws else 'Encoder'}, {whose}"
    figure: FigurePair = curves.draw_learning_curve, curves.describe_learning_curve
    yield Sketch("anomaly", "curves", f"{stem}-curve", title, caption, figure, (result.curve,))
    caption = "An image right of a threshold is flagged. The more the two colors part, the better."
    figure = anomaly.draw_errors, anomaly.describe_errors
    yield Sketch("anomaly", "errors", f"{stem}-errors", f"Scores, {whose}", caption, figure, (result,))
    if not len(result.images):
        return
    caption = (
        "What the autoencoder makes of test images, and where it fails: bright in the last row."
        if redraws
        else "Test images, and where they are unlike normals: bright."
    )
    title = f"{'Reconstructions' if redraws else 'Anomaly maps'}, {whose}"
    names = [str(name) for name in dataset.table["subtype"].iloc[result.examples]] if dataset is not None else []
    figure = (anomaly.draw_reconstructions, anomaly.describe_reconstructions)
    name = f"{stem}-reconstructions"
    yield Sketch("anomaly", "reconstructions", name, title, caption, figure, (result,), {"names": names}, wide=True)


def plan_explain(kind: str, configuration: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield heat-maps, feature maps and patches."""
    at_hand = {
        "gradcam": len(result.images) > 0,
        "feature_maps": bool(result.feature_maps),
        "patches": bool(result.patches),
        "centrality": {"centrality_normal", "centrality_pneumonia"} <= set(result.metrics),
    }
    for name, title, draw, describe, caption in _EXPLAIN_PICTURES:
        if at_hand[name]:
            stem, title, wide = (
                stage_name(configuration, f"explain-{name}"),
                f"{title}, {configuration_title(configuration)}",
                name != "centrality",
            )
            yield Sketch("explain", name, stem, title, caption, (draw, describe), (result,), wide=wide)
