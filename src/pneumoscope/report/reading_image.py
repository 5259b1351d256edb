"""A prediction as one image: the radiograph with its heatmap, and the result below."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.labels import SEPARATOR, LabelSet
from pneumoscope.report.figures.palette import class_style, shorten
from pneumoscope.report.figures.sheet import HEAT_COLORS, color_values, overlay_heatmap
from pneumoscope.report.wording import format_percentile

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

LONG_SIDE = (1024, 2048)
NARROWEST = 640
COLUMNS = 46
MOST_BARS, MOST_FINDINGS, BAR_LETTERS, LETTERS = 8, 4, 11, 17
INK, SOFT, DIM, NOTICE = "#f2f4f6", "#9aa4ad", "#24292e", "#ffc04d"
HEAD, RESULT, REJECTION, LINE, BAR, FOOT = 2.2, 8.4, 5.6, 1.2, 1.3, 1.9


def draw_reading(reading: Mapping[str, Any], heatmap: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    """Draw a radiograph with its heatmap, a notice above and the result below.

    The image is resized so that its longer side has 1,024 to 2,048 pixels. No text covers the radiograph.

    Args:
        reading: the result as `Reader.describe` returns it. `label_trust` is shown if the decision is a group or one
            of its classes, `heatmap_trust` with a heatmap, and `flag_trust` with an anomaly score.
        heatmap: `(H, W)` floats in [0, 1], or None.
        image: `(H, W)` floats in [0, 1], 0 = black.

    Returns:
        `(rows, columns, 3)` uint8.
    """
    from PIL import Image, ImageDraw

    radiograph = _enlarge(image, heatmap)
    width = max(radiograph.width, NARROWEST)
    unit = round(width / COLUMNS)
    bars, unlisted = _choose_bars(reading)
    notes = _list_notes(reading, heatmap is not None, unit, width - 2 * unit)
    top = round(HEAD * unit) + radiograph.height
    height = max(RESULT, 3.6 + BAR * len(bars)) if bars else REJECTION
    below = round((height + LINE * len(notes) + FOOT) * unit)
    sheet = Image.new("RGB", (width, top + below), "black")
    sheet.paste(radiograph, ((width - radiograph.width) // 2, round(HEAD * unit)))
    pen = ImageDraw.Draw(sheet)
    middle = round(HEAD * unit / 2)
    pen.text((unit, middle), RESEARCH_USE_ONLY, fill=NOTICE, font=_font(1.05 * unit, bold=True), anchor="lm")
    pen.text((width - unit, middle), f"Pneumoscope {__version__}", fill=SOFT, font=_font(0.8 * unit), anchor="rm")
    _write_result(pen, reading, unit, top + unit)
    if bars:
        _draw_bars(pen, reading, bars, unit, top + unit)
        if unlisted:
            place = (18 * unit, top + round((2.8 + BAR * len(bars)) * unit))
            pen.text(place, f"{unlisted} less probable ones", fill=SOFT, font=_font(0.7 * unit), anchor="lm")
    if heatmap is not None and bars:
        title = shorten(str(reading["explained"]), LETTERS)
        _draw_scale(sheet, unit, top + unit, (round(35.2 * unit), width - unit), title=title)
    for number, (line, color) in enumerate(notes):
        place = (unit, top + round((height + LINE * number) * unit))
        pen.text(place, line, fill=color, font=_font(0.8 * unit), anchor="la")
    foot = (unit, sheet.height - round(0.6 * unit))
    pen.text(foot, f"model {reading['model']}", fill=SOFT, font=_font(0.7 * unit), anchor="ls")
    return np.asarray(sheet)


def _list_notes(reading: Mapping[str, Any], has_heatmap: bool, unit: int, width: int) -> list[tuple[str, str]]:
    """Return the lines of the notes below the result, each with its color."""
    labels, decision = reading["label_set"], reading["decision"]
    in_group = any(decision == name or decision in members for name, members in labels.groups.items())
    names = ["reason"] + ["label_trust"] * in_group + ["heatmap_trust"] * has_heatmap
    texts = [str(reading.get(name) or "") for name in names]
    if reading.get("anomaly_percentile") is not None:
        verdict = "Flagged as anomalous." if reading["anomalous"] else "Not flagged as anomalous."
        texts.append(f"{verdict} {reading.get('flag_trust') or ''}")
    colors, font = [INK] + [SOFT] * len(texts), _font(0.8 * unit)
    return [(line, color) for text, color in zip(texts, colors, strict=False) for line in _wrap(text, font, width)]


def _choose_bars(reading: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the names to show in display order, none if rejected, and the number of less probable ones."""
    labels: LabelSet = reading["label_set"]
    names = [name for name in labels.scored if reading.get(f"p_{name}") is not None]
    likeliest = sorted(names, key=lambda name: -float(reading[f"p_{name}"]))[:MOST_BARS]
    return [name for name in names if name in likeliest], len(names) - len(likeliest)


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


def _write_result(pen: "ImageDraw", reading: Mapping[str, Any], unit: int, top: int) -> None:
    names, labels = str(reading["decision"]).split(SEPARATOR), reading["label_set"]
    styles: dict[str, tuple[str, str]] = class_style(labels)
    size = 1.9 if len(names) == 1 and len(names[0]) < 12 else 1.1
    for number, name in enumerate(names[:MOST_FINDINGS]):
        place, font = (unit, top + round(1.5 * size * number * unit)), _font(size * unit, bold=True)
        color = styles[name][0] if name in styles and name != labels.negative else INK
        pen.text(place, shorten(name, LETTERS), fill=color, font=font, anchor="la")
    lines = [f"and {len(names) - MOST_FINDINGS} more"] if len(names) > MOST_FINDINGS else []
    lines.append(f"operating point: {reading['operating_point']}")
    percentile = reading.get("anomaly_percentile")
    if percentile is not None:
        lines.append(format_percentile(percentile))
    below = 1.5 * size * min(len(names), MOST_FINDINGS)
    for number, line in enumerate(lines):
        place = (unit, top + round((below + LINE * number) * unit))
        pen.text(place, line, fill=SOFT, font=_font(0.8 * unit), anchor="la")


def _draw_bars(pen: "ImageDraw", reading: Mapping[str, Any], bars: Sequence[str], unit: int, top: int) -> None:
    left, right = 18 * unit, round(30.4 * unit)
    start, half, font = left + 6 * unit, round(0.34 * unit), _font(0.85 * unit)
    thresholds = reading["thresholds"]
    pen.text((left, top), "probability", fill=SOFT, font=_font(0.8 * unit), anchor="la")
    for number, name in enumerate(bars):
        middle, share = top + round((2.1 + BAR * number) * unit), float(reading[f"p_{name}"])
        end = start + round(share * (right - start))
        pen.text((left, middle), shorten(name, BAR_LETTERS), fill=INK, font=font, anchor="lm")
        pen.rectangle((start, middle - half, right, middle + half), fill=DIM)
        pen.rectangle((start, middle - half, end, middle + half), fill=class_style(reading["label_set"])[name][0])
        if name in thresholds:
            place = start + round(thresholds[name] * (right - start))
            pen.line((place, middle - 2 * half, place, middle + 2 * half), fill=INK, width=max(1, unit // 10))
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
