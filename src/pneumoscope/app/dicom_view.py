"""What the viewer shows of a DICOM file beside its gray levels: header, windows, units and pixel spacing.

All of it is sent to the page that asked and to no other place: it contains patient data.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope.app.schema import DicomHeader, DicomValues, DicomView, PixelSpacing, WindowPreset
from pneumoscope.data.dicom import load_values, quiet_pydicom
from pneumoscope.data.dicom_gray import present_gray
from pneumoscope.data.identity import describe_identity
from pneumoscope.data.remarks import Remarks

if TYPE_CHECKING:
    from pydicom import Dataset

WHITE = 65535
MAX_PRESETS = 12
_PIXELS_AT_ONCE = 1 << 20
AS_READ = "As the models receive it"
_TOLERANCE = 0.005  # of gray levels in [0, 1]; half of one of 100 steps
_WINDOW_KEYWORDS = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTSequence")
_AGE_UNITS = {"D": "days", "W": "weeks", "M": "months", "Y": "years"}


def describe_dicom(content: bytes, gray: np.ndarray, max_side: int) -> DicomView:
    """Return header, values and windows of a DICOM radiograph.

    Args:
        content: of a file that `load_gray` accepts.
        gray: result of `load_gray`.
        max_side: larger images are scaled down to it, in pixels.
    """
    stored, values, header = load_values(content)
    with quiet_pydicom():
        view: DicomView = {
            "header": _describe_header(header),
            "spacing": _find_spacing(header),
            "values": None,
            "presets": [],
        }
        if values is not None:
            ends = float(values.min()), float(values.max())
            if header.get("PhotometricInterpretation") == "MONOCHROME1":
                ends = ends[::-1]
            view["presets"] = _list_presets(stored, values, gray, header, ends)
            del stored  # its memory is needed for the image of the values
            view["values"] = _pack_values(values, ends, _find_unit(header), max_side)
    return view


def _describe_header(header: "Dataset") -> DicomHeader:
    parts = _read_text(header, "PatientName").partition("=")[0].split("^")
    return {
        "name": ", ".join(filter(None, (" ".join(part).strip() for part in (parts[:1], parts[1:3])))),
        "id": _read_text(header, "PatientID"),
        "age": _find_age(header),
        "sex": _read_text(header, "PatientSex"),
        "view": " ".join(_read_text(header, keyword) for keyword in ("ViewPosition", "ImageLaterality")).strip(),
        "study_date": re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", _read_text(header, "StudyDate")),
    }


def _find_age(header: "Dataset") -> str:
    """Return the age as stated, or from birth and study date."""
    if match := re.fullmatch(r"(\d{1,3})([DWMY])", stated := _read_text(header, "PatientAge")):
        return f"{int(match[1])} {_AGE_UNITS[match[2]]}"
    years = describe_identity(header).age_years
    return stated or ("" if years is None else f"{int(years)} years")


def _find_spacing(header: "Dataset") -> PixelSpacing | None:
    """Return the pixel spacing and in which plane it is measured (PS3.3 10.7.1)."""
    at_detector = _find_pair(header, "ImagerPixelSpacing")
    spacing = _find_pair(header, "PixelSpacing")
    if spacing and (header.get("PixelSpacingCalibrationType") or (at_detector and spacing != at_detector)):
        return {"rows": spacing[0], "columns": spacing[1], "plane": "calibrated"}
    if at_detector:
        return {"rows": at_detector[0], "columns": at_detector[1], "plane": "at the detector"}
    return {"rows": spacing[0], "columns": spacing[1], "plane": "plane not stated"} if spacing else None


def _find_pair(header: "Dataset", keyword: str) -> list[float]:
    with suppress(Exception):  # a damaged value counts as missing
        pair = [float(number) for number in header.get(keyword) or ()]
        if len(pair) == 2 and all(0 < number < 100 for number in pair):
            return pair
    return []


def _find_unit(header: "Dataset") -> str:
    """Return the unit of the values, such as HU; empty if it is not stated or unspecified (US)."""
    table: Any = header.get("ModalityLUTSequence")
    unit = _read_text(table[0], "ModalityLUTType") if table else _read_text(header, "RescaleType")
    return "" if unit == "US" else unit[:16]


def _pack_values(values: np.ndarray, ends: tuple[float, float], unit: str, max_side: int) -> DicomValues:
    """Return values as a PNG whose red and green are the high and low byte of 16 bits."""
    from pneumoscope.app.images import save_png

    image = Image.fromarray(values)
    image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=None)
    codes = np.rint((np.asarray(image) - ends[0]) * (WHITE / ((ends[1] - ends[0]) or 1)))
    codes = np.clip(codes, 0, WHITE).astype(np.uint16)
    png = save_png(Image.fromarray(np.stack([codes >> 8, codes & 255, np.zeros_like(codes)], -1).astype(np.uint8)))
    return {"image": f"data:image/png;base64,{_encode(png)}", "ends": [*ends], "unit": unit}


def _list_presets(
    stored: np.ndarray, values: np.ndarray, gray: np.ndarray, header: "Dataset", ends: tuple[float, float]
) -> list[WindowPreset]:
    """Return how the models receive the image, then the other windows and VOI LUTs of the file, and the full range."""
    unique, places = _find_unique(stored)
    levels = values.ravel()[places].astype(np.float64)
    order = np.argsort(levels, kind="stable")
    as_read = gray.ravel()[places][order]
    grays, names = [as_read], [AS_READ]
    for name, changed in _list_windows(header):
        with suppress(Exception):  # an invalid window is left out; the image itself is intact
            shown = present_gray(unique[None], changed, Remarks(), limit_clipping=False)[0][order]
            if np.abs(shown - as_read).max() < _TOLERANCE and names[0] == AS_READ:
                names[0] = f"{name} ({AS_READ[0].lower()}{AS_READ[1:]})"
            else:
                grays.append(shown)
                names.append(name)
    full = (levels[order] - ends[0]) / ((ends[1] - ends[0]) or 1)
    if np.abs(full - as_read).max() >= _TOLERANCE:
        grays.append(full)
        names.append("Full range")
    return [_describe_preset(name, shown, levels[order], ends) for name, shown in zip(names, grays, strict=True)]


def _find_unique(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of 8 or 16 bits, sorted, and the index of a pixel of each, in little memory."""
    lowest = int(np.iinfo(stored.dtype).min)
    places, pixels = np.full(1 << 8 * stored.itemsize, -1), stored.ravel()
    for start in range(0, len(pixels), _PIXELS_AT_ONCE):
        part = pixels[start : start + _PIXELS_AT_ONCE].astype(np.int64) - lowest
        places[part] = np.arange(start, start + len(part))
    codes = np.flatnonzero(places >= 0)
    return (codes + lowest).astype(stored.dtype), places[codes]


def _list_windows(header: "Dataset") -> Iterator[tuple[str, "Dataset"]]:
    """Yield the name of each VOI LUT and window, and the header changed to have only this one."""
    tables = _list(header, "VOILUTSequence")[:MAX_PRESETS]
    centers, widths, explanations = (_list(header, keyword)[:MAX_PRESETS] for keyword in _WINDOW_KEYWORDS[:3])
    for keyword in _WINDOW_KEYWORDS:
        if keyword in header:
            del header[keyword]
    for number, table in enumerate(tables, start=1):
        header.VOILUTSequence = [table]
        yield _read_text(table, "LUTExplanation") or f"VOI LUT {number}", header
    if tables:
        del header.VOILUTSequence
    for number, (center, width) in enumerate(zip(centers, widths, strict=False)):
        header.WindowCenter, header.WindowWidth = center, width
        name = _clean(explanations[number]) if number < len(explanations) else ""
        yield name or f"Window {number + 1}", header


def _describe_preset(name: str, gray: np.ndarray, levels: np.ndarray, ends: tuple[float, float]) -> WindowPreset:
    """Return a window, if the gray levels are linear between black and white, else a table of all codes."""
    inside = (gray > _TOLERANCE) & (gray < 1 - _TOLERANCE)
    if inside.sum() > 1:
        slope, offset = np.polyfit(levels[inside], gray[inside], 1)
        if slope and np.abs(np.clip(slope * levels + offset, 0, 1) - gray).max() < _TOLERANCE:
            return {"name": name, "window": [float((0.5 - offset) / slope), float(1 / abs(slope))], "table": None}
    table = np.interp(np.linspace(*ends, WHITE + 1), levels, gray)
    return {"name": name, "window": None, "table": _encode(np.rint(255 * table).astype(np.uint8).tobytes())}


def _list(header: "Dataset", keyword: str) -> list[Any]:
    value: Any = None
    with suppress(Exception):  # a damaged value counts as missing
        value = header.get(keyword)
    if value is None or isinstance(value, str | int | float):
        return [] if value in (None, "") else [value]
    return list(value)


def _read_text(header: "Dataset", keyword: str) -> str:
    with suppress(Exception):  # a damaged value counts as missing
        return _clean(header.get(keyword))
    return ""


def _clean(value: Any) -> str:
    """Return a value as printable text of at most 64 characters."""
    text = "" if value is None else str(value)
    return "".join(filter(str.isprintable, text)).strip()[:64]


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
