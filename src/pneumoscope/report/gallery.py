"""Which pictures a study has: each stage's results drawn, kept in `figures/`, and made ready for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.io.study_folder import order_configurations, split_stage, stage_name
from pneumoscope.progress import track
from pneumoscope.report import study_figures
from pneumoscope.report.comparison import collect_scores
from pneumoscope.report.figures import comparison
from pneumoscope.report.figures.palette import embed_svg, save_figure
from pneumoscope.report.study_figures import FigurePair, Sketch

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset

PHANTOM_NOTE = "Drawn phantoms, not radiographs."


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
        draw, describe = sketch.figure
        alt = describe(*sketch.args, **sketch.options)
        figure = draw(*sketch.args, **sketch.options, title=sketch.title)
        svg = save_figure(figure, figures_dir / sketch.name, note=note, description=alt)
        picture = Picture(sketch.name, sketch.caption, alt, embed_svg(svg), sketch.wide)
        pictures.setdefault(sketch.section, {}).setdefault(sketch.group, []).append(picture)
    return pictures


def plan_pictures(stages: dict[str, Any], results: dict[str, Any], dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield what there is to draw, in the order of the page."""
    panels = collect_scores(results)
    if panels:
        caption = (
            "Each dot is a score on test images, each line its 95% interval; lines that overlap widely do not differ."
        )
        figure: FigurePair = comparison.draw_comparison, comparison.describe_comparison
        yield Sketch("overview", "scores", "comparison", "Scores side by side", caption, figure, (panels,), wide=True)
    configurations = order_configurations(
        {configuration for configuration, _ in map(split_stage, stages) if configuration}
    )
    for kind, plan in (
        *((task, study_figures.plan_classifier) for task in study_figures.CLASSES),
        *((f"neighbors_{task}", study_figures.plan_neighbors) for task in study_figures.CLASSES),
        *((f"map_{task}", study_figures.plan_map) for task in study_figures.CLASSES),
        ("anomaly", study_figures.plan_anomaly),
        ("explain", study_figures.plan_explain),
    ):
        for configuration in configurations:
            if stage_name(configuration, kind) in stages:
                yield from plan(kind, configuration, stages[stage_name(configuration, kind)], dataset)
    if "leakage" in stages:
        title = "What a leaking split adds"
        caption = (
            "The same simple labeller under two splits: where the upper bar is longer, it gained by knowing patients."
        )
        figure = comparison.draw_leakage, comparison.describe_leakage
        yield Sketch("leakage", "leakage", "leakage", title, caption, figure, (stages["leakage"],))
