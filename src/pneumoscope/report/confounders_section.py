"""How much is told without lungs, as a part of a page: table, sentences and picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.io.results import Confounders, Estimate
from pneumoscope.report.figures.confounders import describe_shortcuts, draw_shortcuts
from pneumoscope.report.figures.palette import embed_svg, save_figure
from pneumoscope.report.tables import EMPTY, Cell, word_cell
from pneumoscope.report.wording import metric_title, shortcut_title, word_difference, word_estimate

_SERIES_TITLES = {
    "exposure": "Mean gray level",
    "contrast": "Contrast (sd)",
    "markers": "With letters",
    "flagged": "Called pneumonia",
}
_SHARES = ("markers", "flagged")


@dataclass(frozen=True)
class ShortcutsSection:
    """What `confounders.html.j2` shows, as its variable `shortcuts`.

    Attributes:
        metrics: titles of the figures, in the order of the cells.
        shown: `(title, share hidden, cells, differences)` of each way to show the films.
        pixel_baselines: `(title, cells)` of each regression.
        series_titles: of the cells of `series`.
        series: `(name, images, cells)` of each way in which the data set names its files.
        sentences: what the figures say.
        address, alt: of the picture.
    """

    metrics: list[str]
    shown: list[tuple[str, str, list[Cell], list[str]]]
    pixel_baselines: list[tuple[str, list[Cell]]]
    series_titles: list[str]
    series: list[tuple[str, int, list[Cell]]]
    sentences: list[str]
    address: str
    alt: str


def present_shortcuts(shortcuts: Confounders, figures_dir: Path) -> ShortcutsSection:
    """Draw and word what was measured.

    Args:
        shortcuts: what was measured.
        figures_dir: gets `shortcuts.png` and `shortcuts.svg`.
    """
    metrics = list(next(iter(shortcuts.metrics.values())))
    alt = describe_shortcuts(shortcuts)
    figure = draw_shortcuts(shortcuts, title=f"What is told without lungs, {shortcuts.split}")
    svg = save_figure(figure, figures_dir / "shortcuts", note=RESEARCH_USE_ONLY, description=alt)
    return ShortcutsSection(
        metrics=[metric_title(name) for name in metrics],
        shown=[_tabulate_shown(shortcuts, name, metrics) for name in shortcuts.metrics],
        pixel_baselines=[
            (shortcut_title(name), _fill(found, metrics)) for name, found in shortcuts.pixel_baselines.items()
        ],
        series_titles=list(_SERIES_TITLES.values()),
        series=[(name, found["exposure"].n, _tabulate_series(found)) for name, found in shortcuts.series.items()],
        sentences=write_shortcuts(shortcuts),
        address=embed_svg(svg),
        alt=alt,
    )


def write_shortcuts(shortcuts: Confounders) -> list[str]:
    """Return what the figures say, in sentences."""
    untouched, hidden, alike = (
        shortcuts.metrics[name]["auroc"] for name in ("untouched", "lungs_hidden", "lung_area_hidden")
    )
    lost = shortcuts.differences["lungs_hidden"]["auroc"]
    sentences = [
        f"With the lungs hidden the classifier still reaches an AUROC of {word_estimate('auroc', hidden)}, "
        f"{word_difference('auroc', lost)} against films as they are; with the same area hidden in all films, so that "
        f"no outline is left, {word_estimate('auroc', alike)}."
    ]
    if untouched.value > alike.low > 0.5:
        told = (alike.value - 0.5) / (untouched.value - 0.5)
        sentences.append(
            f"That is {min(100 * told, 100):.0f}% of its AUROC above chance: what lies beside the lungs, or the "
            "exposure, is enough for it. Whether it also looks at lungs is another question: with all but them hidden "
            f"it reaches {word_estimate('auroc', shortcuts.metrics['lungs_only']['auroc'])}."
        )
    accuracy = shortcuts.differences["lungs_hidden"]["accuracy"]
    if accuracy.high < 0 and lost.value > accuracy.value / 2:
        sentences.append(
            f"At its threshold it is right less often with the lungs hidden, {word_difference('accuracy', accuracy)}: "
            "on such strange films all probabilities shift together, which moves decisions and leaves the ranking."
        )
    if shortcuts.pixel_baselines:
        best = max(shortcuts.pixel_baselines, key=lambda name: shortcuts.pixel_baselines[name]["auroc"].value)
        seen = shortcut_title(best).removesuffix(" alone").replace("outer", "the outer")
        sentences.append(
            f"The best regression that sees no lung, on {seen}, reaches "
            f"{word_estimate('auroc', shortcuts.pixel_baselines[best]['auroc'])}: that much is in the data set for "
            "any net to learn."
        )
    if any(found["auroc"].high < 0.5 for found in shortcuts.pixel_baselines.values()):
        sentences.append(
            "A regression under 0.5 learned from the training films a difference that points the other way here: the "
            "two were not taken alike."
        )
    return sentences


def _tabulate_shown(shortcuts: Confounders, name: str, metrics: list[str]) -> tuple[str, str, list[Cell], list[str]]:
    differences = shortcuts.differences.get(name, {})
    hidden = f"{100 * shortcuts.hidden[name].value:.1f}%" if name in shortcuts.hidden else "-"
    worded = [word_difference(metric, differences[metric]) if metric in differences else "" for metric in metrics]
    return shortcut_title(name), hidden, _fill(shortcuts.metrics[name], metrics), worded


def _fill(figures: Mapping[str, Estimate], metrics: list[str]) -> list[Cell]:
    return [word_cell(name, figures[name]) if name in figures else EMPTY for name in metrics]


def _tabulate_series(figures: Mapping[str, Estimate]) -> list[Cell]:
    return [
        word_cell("flagged", figures[name])
        if name in _SHARES
        else Cell(f"{figures[name].value:.0f}", f"[{figures[name].low:.0f}, {figures[name].high:.0f}]")
        for name in _SERIES_TITLES
    ]
