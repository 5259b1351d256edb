"""A prediction as one image: the radiograph with its heatmap, and the result below."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.inference.illustration import choose_explained_class
from pneumoscope.report.figures.palette import CLASS_COLORS
from pneumoscope.report.figures.sheet import HEAT_COLORS, color_values, overlay_heatmap
from pneumoscope.report.wording import format_percentile

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

LONG_SIDE = (1024, 2048)
NARROWEST = 640
COLUMNS = 46
BARS = (("normal", 0), ("pneumonia", 0), ("bacterial", 1), ("viral", 1))
INK, SOFT, DIM, NOTICE = "#f2f4f6", "#9aa4ad", "#24292e", "#ffc04d"
HEAD, RESULT, REJECTION, LINE, FOOT = 2.2, 8.4, 5.6, 1.2, 1.9


def draw_reading(reading: Mapping[str, Any], heatmap: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    """Draw a radiograph with its heatmap, a notice above and the result below.

    The image is resized so that its longer side has 1,024 to 2,048 pixels. No text covers the radiograph.

    Args:
        reading: fields of the result: `decision`, `operating_point`, `p_*`, `anomaly_percentile`, `reason` and `model`.
            Optional: `subtype_trust`, shown if pneumonia is predicted, and `heatmap_trust`, shown with a heatmap.
        heatmap: `(H, W)` floats in [0, 1], or None.
        image: `(H, W)` floats in [0, 1], 0 = black.

    Returns:
        `(rows, columns, 3)` uint8.
    """
    from PIL import Image, ImageDraw

    radiograph = _enlarge(image, heatmap)
    width = max(radiograph.width, NARROWEST)
    unit = round(width / COLUMNS)
    has_probabilities = reading.get("p_pneumonia") is not None
    texts = (
        [("reason", INK)]
        + [("subtype_trust", SOFT)] * (reading["decision"] == "pneumonia")
        + [("heatmap_trust", SOFT)] * (heatmap is not None)
    )
    notes = [
        (line, color)
        for name, color in texts
        for line in _wrap(str(reading.get(name) or ""), _font(0.8 * unit), width - 2 * unit)
    ]
    top = round(HEAD * unit) + radiograph.height
    height = RESULT if has_probabilities else REJECTION
    below = round((height + LINE * len(notes) + FOOT) * unit)
    sheet = Image.new("RGB", (width, top + below), "black")
    sheet.paste(radiograph, ((width - radiograph.width) // 2, round(HEAD * unit)))
    pen = ImageDraw.Draw(sheet)
    _write_head(pen, width, unit)
    _write_result(pen, reading, unit, top + unit)
    if has_probabilities:
        _draw_bars(pen, reading, unit, top + unit, (18 * unit, round(30.4 * unit)))
    if heatmap is not None and has_probabilities:
        title = choose_explained_class(reading["decision"], float(reading["p_pneumonia"]))
        _draw_scale(sheet, unit, top + unit, (round(35.2 * unit), width - unit), title=title)
    for number, (line, color) in enumerate(notes):
        place = (unit, top + round((height + LINE * number) * unit))
        pen.text(place, line, fill=color, font=_font(0.8 * unit), anchor="la")
    foot = (unit, sheet.height - round(0.6 * unit))
    pen.text(foot, f"model {reading['model']}", fill=SOFT, font=_font(0.7 * unit), anchor="ls")
    return np.asarray(sheet)


def _enlarge(image: np.ndarray, heatmap: np.ndarray | None) -> "Image.Image":
    """Return the resized radiograph blended with its heatmap."""
    from PIL import Image

    height, width = image.shape
    scale = np.clip(max(height, width), *LONG_SIDE) / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BILINEAR
    gray = np.clip(np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, method)), 0, 1)
    shown = np.repeat(gray[..., None], 3, axis=2)
    if heatmap is not None:
        heat = np.asarray(Image.fromarray(heatmap.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        shown = overlay_heatmap(gray, np.clip(heat, 0, 1))
    return Image.fromarray(np.rint(255 * shown).astype(np.uint8))


def _write_head(pen: "ImageDraw", width: int, unit: int) -> None:
    middle = round(HEAD * unit / 2)
    pen.text((unit, middle), RESEARCH_USE_ONLY, fill=NOTICE, font=_font(1.05 * unit, bold=True), anchor="lm")
    name = f"Pneumoscope {__version__}"
    pen.text((width - unit, middle), name, fill=SOFT, font=_font(0.8 * unit), anchor="rm")


def _write_result(pen: "ImageDraw", reading: Mapping[str, Any], unit: int, top: int) -> None:
    decision = str(reading["decision"])
    color = CLASS_COLORS["pneumonia"] if decision == "pneumonia" else INK
    pen.text((unit, top), decision, fill=color, font=_font(1.9 * unit, bold=True), anchor="la")
    lines = [f"operating point: {reading['operating_point']}"]
    percentile = reading.get("anomaly_percentile")
    if percentile is not None:
        lines.append(format_percentile(percentile))
    for number, line in enumerate(lines):
        place = (unit, top + round((2.8 + LINE * number) * unit))
        pen.text(place, line, fill=SOFT, font=_font(0.8 * unit), anchor="la")


def _draw_bars(pen: "ImageDraw", reading: Mapping[str, Any], unit: int, top: int, sides: tuple[int, int]) -> None:
    left, right = sides
    start, half, font = left + 6 * unit, round(0.34 * unit), _font(0.85 * unit)
    pen.text((left, top), "probability", fill=SOFT, font=_font(0.8 * unit), anchor="la")
    for number, (name, depth) in enumerate(BARS):
        middle, share = top + round((2.1 + 1.3 * number) * unit), float(reading[f"p_{name}"])
        end = start + round(share * (right - start))
        pen.text((left + depth * round(0.7 * unit), middle), name, fill=SOFT if depth else INK, font=font, anchor="lm")
        pen.rectangle((start, middle - half, right, middle + half), fill=DIM)
        pen.rectangle((start, middle - half, end, middle + half), fill=CLASS_COLORS[name])
        pen.text((right + round(0.5 * unit), middle), f"{100 * share:.0f}%", fill=INK, font=font, anchor="lm")


def _draw_scale(sheet: "Image.Image", unit: int, top: int, sides: tuple[int, int], *, title: str) -> None:
    from PIL import Image, ImageDraw

    (left, right), pen, font = sides, ImageDraw.Draw(sheet), _font(0.8 * unit)
    pen.text((left, top), title, fill=SOFT, font=font, anchor="la")
    ramp = color_values(np.linspace(0, 1, right - left)[None], HEAT_COLORS)
    bar = Image.fromarray(np.rint(255 * np.repeat(ramp, round(0.7 * unit), axis=0)).astype(np.uint8))
    place = top + round(1.75 * unit)
    sheet.paste(bar, (left, place))
    pen.rectangle((left, place, right, place + bar.height), outline=SOFT)
    below = place + round(1.1 * unit)
    pen.text((left, below), "low", fill=SOFT, font=font, anchor="la")
    pen.text((right, below), "high", fill=SOFT, font=font, anchor="ra")


def _wrap(text: str, font: "FreeTypeFont", width: float) -> list[str]:
    """Return the lines of a wrapped text; an empty text has none."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@lru_cache
def _font(size: float, *, bold: bool = False) -> "FreeTypeFont":
    """Return DejaVu Sans, which is part of matplotlib."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", name), round(size))
