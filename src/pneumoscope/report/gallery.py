"""Which pictures a study has: each stage's results drawn, kept in `figures/`, and made ready for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.progress import track
from pneumoscope.radiographs.phantoms import shows_phantoms
from pneumoscope.report import sentences
from pneumoscope.report.comparison import collect_scores
from pneumoscope.report.figures import (
    anomaly,
    comparison,
    curves,
    explain,
    explain_benchmark,
    neighbors,
    retrieval,
    scores,
)
from pneumoscope.report.figures.palette import embed_svg, save_figure
from pneumoscope.report.summary import split_stage
from pneumoscope.report.wording import TASK_TITLES, order_profiles, profile_title
from pneumoscope.results import BINARY_CLASSES, THREE_CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.radiographs.dataset import Dataset

MOST_SHOWN = 4  # detectors
PHANTOM_NOTE = "Drawn phantoms, not radiographs."
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


_RETRIEVAL_PICTURES = (
    (
        "precision",
        "What is found",
        retrieval.draw_precision,
        retrieval.describe_precision,
        "How many of the nearest known images of other patients are of the test image's class, with 95% intervals.",
    ),
    (
        "doubt",
        "Where neighbors contradict",
        retrieval.draw_doubt,
        retrieval.describe_doubt,
        "If the lines of a net lie apart, neighbors that contradict it are a reason to doubt it.",
    ),
    (
        "distances",
        "Far from all that is known",
        retrieval.draw_distances,
        retrieval.describe_distances,
        "Beyond the dashed line lies one in twenty of the validation images.",
    ),
)


@dataclass(frozen=True)
class Sketch:
    """A picture not yet drawn.

    Attributes:
        section: part of the page that it belongs to: a task, `overview` or `leakage`.
        group: pictures of one group stand side by side.
        name: file name without suffix.
        caption: how to read it.
        draw: makes the figure.
        describe: makes the alternative text.
        wide: whether it takes the whole width of the page.
    """

    section: str
    group: str
    name: str
    caption: str
    draw: Callable[[], Figure]
    describe: Callable[[], str]
    wide: bool = False


@dataclass(frozen=True)
class Picture:
    """A drawn picture: name, caption and alternative text as in `Sketch`, and its data address."""

    name: str
    caption: str
    alt: str
    address: str
    wide: bool


def draw_pictures(
    stages: dict[str, Any], results: dict[str, Any], figures_dir: Path, *, dataset: Dataset | None = None
) -> dict[str, dict[str, list[Picture]]]:
    """Draw every picture that the stages hold, and keep each as PNG and SVG.

    Args:
        stages: results by stage name.
        results: content of `results.json`.
        figures_dir: where to.
        dataset: for pictures of neighbors; without it they are left out.

    Returns:
        Pictures by section and group, in the order of the page.
    """
    note = f"{RESEARCH_USE_ONLY} {PHANTOM_NOTE}" if results["data"]["phantoms"] else RESEARCH_USE_ONLY
    pictures: dict[str, dict[str, list[Picture]]] = {}
    for sketch in track(list(plan_pictures(stages, results, dataset)), "Drawing figures"):
        alt = sketch.describe()
        svg = save_figure(sketch.draw(), figures_dir / sketch.name, note=note, description=alt)
        picture = Picture(sketch.name, sketch.caption, alt, embed_svg(svg), sketch.wide)
        pictures.setdefault(sketch.section, {}).setdefault(sketch.group, []).append(picture)
    return pictures


def plan_pictures(stages: dict[str, Any], results: dict[str, Any], dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield what there is to draw, in the order of the page."""
    panels = collect_scores(results)
    if panels:
        yield Sketch(
            "overview",
            "scores",
            "comparison",
            "Each dot is a score on test images, each line its 95% interval; lines that overlap widely do not differ.",
            lambda: comparison.draw_comparison(panels, title="Scores side by side"),
            lambda: comparison.describe_comparison(panels),
            wide=True,
        )
    profiles = order_profiles({profile for profile, _ in map(split_stage, stages) if profile})
    for kind, plan in (
        *((task, _plan_classifier) for task in CLASSES),
        *((f"neighbors_{task}", _plan_neighbors) for task in CLASSES),
        *((f"map_{task}", _plan_map) for task in CLASSES),
        ("neighbors_benchmark", _plan_neighbors_benchmark),
        ("anomaly", _plan_anomaly),
        ("anomaly_benchmark", _plan_detectors),
        ("explain", _plan_explain),
        ("explain_benchmark", _plan_explain_benchmark),
    ):
        for profile in profiles:
            if f"{profile}-{kind}" in stages:
                yield from plan(kind, profile, stages[f"{profile}-{kind}"], dataset)
    if "leakage" in stages:
        leakage = stages["leakage"]
        yield Sketch(
            "leakage",
            "leakage",
            "leakage",
            "The same simple labeller under two splits: where the upper bar is longer, it gained by knowing patients.",
            lambda: comparison.draw_leakage(leakage, title="What a leaking split adds"),
            lambda: comparison.describe_leakage(leakage),
        )


def _plan_classifier(task: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
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


def _plan_neighbors(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
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


def _plan_map(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    task = kind.removeprefix("map_")
    yield Sketch(
        "neighbors",
        f"map_{task}",
        f"{profile}-{kind}",
        "Faint: training images, which made the map. Strong: test images, placed on it afterwards. Nearness means "
        "alike to the net; the axes and the size of gaps mean nothing.",
        lambda: neighbors.draw_map(
            result, title=f"t-SNE map, net {TASK_TITLES[task].split()[0]}, {profile_title(profile)}"
        ),
        lambda: neighbors.describe_map(result),
    )


def _plan_neighbors_benchmark(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    for name, title, draw, describe, caption in _RETRIEVAL_PICTURES:
        yield Sketch(
            "neighbors",
            "benchmark",
            f"{profile}-neighbors-{name}",
            caption,
            partial(draw, result, title=f"{title}, {profile_title(profile)}"),
            partial(describe, result),
            wide=name == "precision",
        )


def _plan_anomaly(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
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


def _plan_detectors(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    shown = _choose_shown(result.detections)
    if not shown:
        return
    examples = next(iter(shown.values())).examples
    names = [str(name) for name in dataset.table["subtype"].iloc[examples]] if dataset is not None else []
    yield Sketch(
        "anomaly",
        "benchmark",
        f"{profile}-{kind}-maps",
        "Where each detector finds test images odd. Those shown find opacities drawn on held-out normals best.",
        lambda: anomaly.draw_detections(shown, names=names, title=f"Anomaly maps, {profile_title(profile)}"),
        lambda: anomaly.describe_detections(shown),
        wide=True,
    )


def _choose_shown(detections: dict[str, Any]) -> dict[str, Any]:
    """Return the detectors whose maps are shown: no choice looks at test."""
    ranked = [name for name, found in detections.items() if "pro_drawn" in found.metrics and len(found.images)]
    ranked.sort(key=lambda name: -detections[name].metrics["pro_drawn"].value)
    return {name: detections[name] for name in ranked[:MOST_SHOWN]}


def _plan_explain(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
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


def _plan_explain_benchmark(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    claim = sentences.write_centrality(result.claim, phantoms=dataset is not None and shows_phantoms(dataset))
    for name, title, caption in (
        ("methods", "Maps of each method", "The same lesions, their place known, in the eyes of each method."),
        ("claim", "Where normals and pneumonias are lit", claim),
        ("probes", "What moves the net without sickness", "Each dot should lie at 0: none of these is a sickness."),
    ):
        if name != "methods" or len(result.images):
            yield Sketch(
                "explain",
                "benchmark",
                f"{profile}-explain-{name}",
                caption,
                partial(getattr(explain_benchmark, f"draw_{name}"), result, title=f"{title}, {profile_title(profile)}"),
                partial(getattr(explain_benchmark, f"describe_{name}"), result),
                wide=name == "methods",
            )


def _has_material(result: Any, name: str) -> bool:
    return {
        "gradcam": len(result.images) > 0,
        "feature_maps": bool(result.feature_maps),
        "patches": bool(result.patches),
        "centrality": {"centrality_normal", "centrality_pneumonia"} <= set(result.metrics),
    }[name]
