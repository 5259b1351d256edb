"""Colors and style of the figures, and how a figure is saved and embedded in a page.

Figures are matplotlib `Figure` objects; pyplot's global state is not used.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.io.write import atomic_write, write_text
from pneumoscope.labels import LabelSet, guess_negative

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

INK = "#1f2328"
SOFT = "#7d8590"
ON_DARK, ON_LIGHT = "#ffffff", "#111111"

# Okabe and Ito 2008: distinguishable with the common types of color blindness.
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
# Of the classes besides the negative one: bright, then darker colors, legible on white and on black. The numbers of
# colors and markers have no common divisor, so that 56 classes differ.
_CLASS_COLORS = (ORANGE, PURPLE, GREEN, SKY, "#A05F00", "#A5527F", "#00785B", "#6A5ACD")
_CLASS_MARKERS = ("^", "s", "v", "P", "h", "X", "p")
NEGATIVE_STYLE, POSITIVE_STYLE, UNKNOWN_STYLE = (BLUE, "o"), (VERMILION, "D"), (SOFT, "x")

PNG_DPI = 130
EMBEDDED_QUALITY = 80  # of WebP
FULL_WIDTH, HALF_WIDTH = 10.5, 6.0
NOTE_HEIGHT = 0.17
LEGEND_LINE, LEGEND_LETTERS = 0.17, 48

_STYLE = {
    "text.parse_math": False,  # class names may contain $
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

# An SVG inside <img> follows the color scheme of the browser, not the style sheet of the page. The first rule holds
# for programs without a color scheme: this gray is legible on black and on white.
_ADAPTIVE_STYLE = (
    f"<style>svg{{color:{SOFT}}}"
    f"@media (prefers-color-scheme:light){{svg{{color:{INK}}}}}"
    "@media (prefers-color-scheme:dark){svg{color:#e6edf3}}"
    f"@media print{{svg{{color:{INK}}}}}"
    "#background path{fill:none!important}</style>"
)

_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_UNUSED = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_PATH = re.compile(r' d="[^"]*"')
_LONG_DECIMAL = re.compile(r"(\.\d\d)\d+")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def class_style(classes: LabelSet | Sequence[str], negative: str | None = None) -> dict[str, tuple[str, str]]:
    """Return color and matplotlib marker of each class; of a label set also those of groups and `positive`.

    The negative class is a blue circle. The only other class, groups and `positive` are vermilion diamonds.

    Args:
        classes: the label set, or names of classes in their order.
        negative: the negative class, if `classes` are names; by default guessed from them.

    Example:
        >>> class_style(["Healthy", "Tuberculosis", "COVID"])["COVID"]
        ('#CC79A7', 's')
    """
    if isinstance(classes, LabelSet):
        names, negative = classes.classes, classes.negative
        totals = [name for name in classes.scored if name not in names]
    else:
        names, negative, totals = tuple(classes), negative or guess_negative(classes), []
    others = [name for name in names if name != negative]
    styles = {negative: NEGATIVE_STYLE} if negative else {}
    if negative and len(others) == 1:
        return {**styles, others[0]: POSITIVE_STYLE}
    for number, name in enumerate(others):
        styles[name] = _CLASS_COLORS[number % len(_CLASS_COLORS)], _CLASS_MARKERS[number % len(_CLASS_MARKERS)]
    return styles | dict.fromkeys(totals, POSITIVE_STYLE)


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return the function so that it draws in the style of the report; matplotlib's settings stay as they are."""

    @wraps(draw)
    def draw_in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return draw_in_style


def new_figure(title: str, alt: str, *, width: float = HALF_WIDTH, height: float = 3.2) -> Figure:
    """Return an empty figure with a free strip at the bottom for a note.

    Args:
        title: above the figure, left-aligned.
        alt: alternative text, stored as the label of the figure.
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
def save_figure(
    figure: Figure, stem: Path, *, note: str = RESEARCH_USE_ONLY, formats: Sequence[str] = ("png", "svg")
) -> None:
    """Save a figure with its alternative text.

    Args:
        figure: from `new_figure`; `note` is added below it.
        stem: path without suffix.
        note: small print below the figure.
        formats: `png`, `svg` or both.
    """
    figure.text(0.99, 0.005, note, ha="right", va="bottom", fontsize=6.5, color=SOFT)
    metadata: dict[str, Any] = {"Title": stem.name, "Description": f"{figure.get_label()} {note}"}
    _fix_layout(figure)
    if "png" in formats:
        with atomic_write(stem.with_suffix(".png")) as partial:
            figure.savefig(partial, format="png", dpi=PNG_DPI, metadata=metadata)
    if "svg" in formats:
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={**metadata, "Date": None})
        write_text(stem.with_suffix(".svg"), buffer.getvalue())


def _fix_layout(figure: Figure) -> None:
    """Run the layout engine once; otherwise matplotlib runs it again for each format."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    foot = NOTE_HEIGHT / figure.get_size_inches()[1]
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0, foot, 1, 1 - foot), transform=figure.transSubfigure)


@dataclass(frozen=True)
class PageFigure:
    """A saved figure, ready for a page.

    Attributes:
        name: of its file, without folder and suffix.
        caption: below the figure.
        alt: alternative text.
        address: data URI.
        wide: whether the figure takes the full width of the page.
    """

    name: str
    caption: str
    alt: str
    address: str
    wide: bool = False


def save_page_figure(
    figure: Figure, stem: Path, *, caption: str, note: str = RESEARCH_USE_ONLY, wide: bool = False
) -> PageFigure:
    """Save a figure as SVG and return it for a page; see `save_figure`."""
    save_figure(figure, stem, note=note, formats=("svg",))
    address = embed_svg(stem.with_suffix(".svg").read_text(encoding="utf-8"))
    return PageFigure(stem.name, caption, figure.get_label(), address, wide)


def embed_svg(svg: str) -> str:
    """Return an SVG as a data URI that follows the light or dark color scheme of the browser.

    To keep the page small, metadata and comments are removed, PNG images become WebP, and coordinates keep two
    decimals (0.01 point).
    """
    text = (
        _UNUSED.sub("", svg[svg.index("<svg") :])
        .replace("<defs>", f"{_ADAPTIVE_STYLE}<defs>", 1)
        .replace(INK, "currentColor")
    )
    text = text.replace("image-rendering:crisp-edges;image-rendering:pixelated", "image-rendering:auto")
    text = _PNG.sub(_convert_to_webp, text)
    text = _PATH.sub(lambda match: _LONG_DECIMAL.sub(r"\1", match.group()), text)
    # Percent-encoding only what a data URI in double quotes must not contain is shorter than base64.
    for character in '%#<>"':
        text = text.replace(character, f"%{ord(character):02X}")
    return "data:image/svg+xml," + " ".join(text.split())


def _convert_to_webp(match: re.Match[str]) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(match.group(1)))) as image:
        return embed_image(image, "WEBP", quality=EMBEDDED_QUALITY, method=2)


def embed_image(image: Image.Image, file_format: str, **options: Any) -> str:
    """Return an image as a data URI; `options` are those of Pillow for the format."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def put_legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """Put the legend of `axes` below the figure: fewer columns for long names, and a higher figure for many rows."""
    handles, names = axes.get_legend_handles_labels()
    names = [shorten(name, LEGEND_LETTERS) for name in names]
    width, height = figure.get_size_inches()
    columns = max(1, min(columns, int(width / (0.07 * max(map(len, names), default=0) + 0.5))))
    added = LEGEND_LINE * max(0, -(-len(names) // columns) - 2)
    figure.set_size_inches(width, height + added)
    engine = figure.get_layout_engine()
    if engine is not None:
        foot = NOTE_HEIGHT / (height + added)
        engine.set(rect=(0, foot, 1, 1 - foot))
    figure.legend(handles, names, loc="outside lower left", ncols=columns)


def shorten(text: str, most: int) -> str:
    """Return a text with at most `most` letters.

    Example:
        >>> shorten("No finding at all", 10)
        'No findin…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
