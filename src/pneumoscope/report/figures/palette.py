"""Colors, style, and how a figure is saved and put on a page.

Figures are built as objects: nothing here or beside touches pyplot's global state.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import quote

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.io.write import atomic_write, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2328"
SOFT = "#7d8590"
ON_DARK, ON_LIGHT = "#ffffff", "#111111"

# Okabe and Ito 2008: distinct with any common color blindness.
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
CLASS_COLORS = {"normal": BLUE, "pneumonia": VERMILION, "bacterial": ORANGE, "viral": PURPLE, "unknown": SOFT}
CLASS_MARKERS = {"normal": "o", "pneumonia": "^", "bacterial": "^", "viral": "s", "unknown": "x"}

PNG_DPI = 130
FULL_WIDTH, HALF_WIDTH = 10.5, 6.0
NOTE_HEIGHT = 0.17

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": "#ffffff",
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "grid.color": SOFT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "pneumoscope",
    "svg.fonttype": "path",
}

# An SVG inside <img> knows the reader's color scheme but not the page's style sheet. The gray that comes
# first is legible on black and on white, for readers that do not say which they have.
_ADAPTIVE_STYLE = (
    f"<style>svg{{color:{SOFT}}}"
    f"@media (prefers-color-scheme:light){{svg{{color:{INK}}}}}"
    "@media (prefers-color-scheme:dark){svg{color:#e6edf3}}"
    f"@media print{{svg{{color:{INK}}}}}"
    "#background path{fill:none!important}</style>"
)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function draw in the style of the report, without changing matplotlib's settings for anyone else."""

    @wraps(draw)
    def draw_in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return draw_in_style


def new_figure(title: str, alt: str, *, width: float = HALF_WIDTH, height: float = 3.2) -> Figure:
    """Return an empty figure, in inches, with a free strip at its foot for a note.

    Args:
        title: at the left above it.
        alt: alternative text, kept as the label of the figure.
        width, height: in inches.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    foot = NOTE_HEIGHT / height
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(0, foot, 1, 1 - foot)))
    figure.patch.set_gid("background")
    figure.suptitle(title, x=0.01, ha="left")
    figure.set_label(alt)
    return figure


@styled
def save_figure(figure: Figure, stem: Path, *, note: str = RESEARCH_USE_ONLY) -> str:
    """Save a figure as PNG and SVG, with its alternative text in both.

    Args:
        figure: of `new_figure`; `note` is added below it.
        stem: path without suffix.
        note: printed small below the figure, so that it goes wherever the file goes.

    Returns:
        The text of the SVG file.
    """
    figure.text(0.99, 0.005, note, ha="right", va="bottom", fontsize=6.5, color=SOFT)
    metadata: dict[str, Any] = {"Title": stem.name, "Description": f"{figure.get_label()} {note}"}
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it has done its work; left on, it would do it again for each format
    foot = NOTE_HEIGHT / figure.get_size_inches()[1]
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0, foot, 1, 1 - foot), transform=figure.transSubfigure)
    with atomic_write(stem.with_suffix(".png")) as partial:
        figure.savefig(partial, format="png", dpi=PNG_DPI, metadata=metadata)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={**metadata, "Date": None})
    write_text(stem.with_suffix(".svg"), buffer.getvalue())
    return buffer.getvalue()


@dataclass(frozen=True)
class Picture:
    """A saved figure as a page shows it.

    Attributes:
        name: of its files, without folder and suffix.
        caption, alt: how to read it, and its alternative text.
        address: data address.
        wide: whether it takes the whole width of the page.
    """

    name: str
    caption: str
    alt: str
    address: str
    wide: bool = False


def make_picture(
    figure: Figure, stem: Path, *, caption: str, note: str = RESEARCH_USE_ONLY, wide: bool = False
) -> Picture:
    """Save a figure as PNG and SVG, and return it for a page; see `save_figure`."""
    return Picture(stem.name, caption, figure.get_label(), embed_svg(save_figure(figure, stem, note=note)), wide)


def embed_svg(svg: str) -> str:
    """Return an SVG as a data address whose ink follows the reader's light or dark color scheme."""
    adaptive = svg.replace("<defs>", f"{_ADAPTIVE_STYLE}<defs>", 1).replace(INK, "currentColor")
    smooth = adaptive.replace("image-rendering:crisp-edges;image-rendering:pixelated", "image-rendering:auto")
    # Percent-encoding leaves paths and embedded images as they are; base64 would make them a third longer.
    return "data:image/svg+xml," + quote(smooth[smooth.index("<svg") :].replace("\n", " "), safe=" !$'()*+,-./:;=?@_~")


def put_legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """Name what `axes` shows in one line below the whole figure."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=columns)
