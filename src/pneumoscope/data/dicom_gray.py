"""Grayscale transformations of DICOM (PS3.4 N.2): stored values to the gray levels that a viewer shows."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.dicom_frame import read_int

if TYPE_CHECKING:
    from pydicom import Dataset

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow
OUTLIERS = 0.001
MIN_FILL = 0.5
MAX_SAMPLE = 1_000_000


def present_gray(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    """Convert stored values to gray levels: modality LUT, then VOI LUT or window, then polarity.

    A VOI LUT takes precedence over a window, and the first of several is used. A VOI LUT or window with a constant
    result, or a width under 1, is ignored. Without either, the range of the stored bits maps to black through white
    (identity, PS3.4 N.2.1.3). If more than 8 bits are stored and the pixels fill less than half of that range, as
    with 12 bits declared as 16, the range is the 0.1 to 99.9 percentile of the pixels.

    Padding (PS3.3 C.7.5.1.1.2) becomes black and is excluded from the range. Color is converted to luma.

    Args:
        stored: `(H, W)` or `(H, W, 3)` ints, see `decode_frame`.
        header: DICOM header of the image.

    Returns:
        `(H, W)` float32 in [0, 1], 0 = black, bone bright.

    Raises:
        Exception: of any type, if the header is damaged. `load_dicom` converts it to `ImageError`.
    """
    bits = read_int(header, "BitsStored")
    if stored.ndim == 3:
        luma: np.ndarray = np.clip(stored.astype(np.float32) @ np.array(LUMA, np.float32) / (2**bits - 1), 0, 1)
        return luma
    padding = _find_padding(stored, header)
    values, low, high = apply_modality(stored, header)
    presented = _apply_voi_lut(values, header)
    if presented is None:
        presented = _apply_window(values, header)
    if presented is None:
        if bits > 8:
            low, high = _choose_range(values[~padding], low, high)
        presented = _rescale(values, low, high)
    gray = 1 - presented if header.PhotometricInterpretation == "MONOCHROME1" else presented
    gray[padding] = 0
    return gray


def _find_padding(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    """Return `(H, W)` bool, True at padding pixels (PS3.3 C.7.5.1.1.2)."""
    if header.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, bool)
    value = read_int(header, "PixelPaddingValue")
    limit = read_int(header, "PixelPaddingRangeLimit", value)
    padding: np.ndarray = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return np.zeros(stored.shape, bool) if padding.all() else padding


def apply_modality(stored: np.ndarray, header: "Dataset") -> tuple[np.ndarray, float, float]:
    """Return float32 values after the modality LUT (PS3.3 C.11.1), and the minimum and maximum possible value."""
    if header.get("ModalityLUTSequence"):
        return _apply_table(stored, header.ModalityLUTSequence[0], header)
    bits, signed = read_int(header, "BitsStored"), read_int(header, "PixelRepresentation", 0)
    slope, intercept = _first_number(header, "RescaleSlope", 1.0), _first_number(header, "RescaleIntercept", 0.0)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        slope, intercept = 1.0, 0.0
    lowest = -(2 ** (bits - 1)) if signed else 0
    ends = [slope * end + intercept for end in (lowest, lowest + 2**bits - 1)]
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept), min(ends), max(ends)


def _apply_voi_lut(values: np.ndarray, header: "Dataset") -> np.ndarray | None:
    """Return gray levels after the first VOI LUT (PS3.3 C.11.2.1.1), or None if it is missing or constant."""
    if not header.get("VOILUTSequence"):
        return None
    entries, low, high = _apply_table(np.rint(values).astype(np.int64), header.VOILUTSequence[0], header)
    return None if entries.min() == entries.max() else _rescale(entries, low, high)


def _apply_window(values: np.ndarray, header: "Dataset") -> np.ndarray | None:
    """Return gray levels after the first window (PS3.3 C.11.2.1.2, C.11.2.1.3), or None if missing or unusable."""
    center, width = _first_number(header, "WindowCenter", np.nan), _first_number(header, "WindowWidth", np.nan)
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
    if not np.isfinite([center, width]).all() or width < (1 if function == "LINEAR" else 1e-6):
        return None
    if function == "SIGMOID":
        presented = 1 / (1 + np.exp(np.clip(-4 * (values - np.float32(center)) / np.float32(width), -80, 80)))
    elif function == "LINEAR_EXACT":
        presented = _rescale(values, center - width / 2, center + width / 2)
    else:
        presented = _rescale(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
    return None if presented.min() == presented.max() else presented


def _apply_table(values: np.ndarray, item: "Dataset", header: "Dataset") -> tuple[np.ndarray, float, float]:
    """Return float32 look-up table entries, and the minimum and maximum possible entry (PS3.3 C.11.1.1.1).

    pydicom's own function stores indices with the bit depth of the entries, so 12-bit indices into 8-bit entries
    overflow.
    """
    descriptor: list[int] = [int(number) for number in item.LUTDescriptor]
    entries, first, bits = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
    raw: Any = item.LUTData
    if isinstance(raw, bytes):
        order = "<" if header.original_encoding[1] else ">"
        table = np.frombuffer(raw, np.uint8 if len(raw) < 2 * entries else np.dtype(f"{order}u2"))
    else:
        table = np.atleast_1d(np.asarray(raw, np.int64))
    table = table[:entries].astype(np.float32)
    high = 2**bits - 1
    if table.max() < MIN_FILL * high:
        high = float(table.max())  # 12 bits declared as 16
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)], 0.0, high


def _choose_range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return `(low, high)`, or a percentile range of the values if they fill less than `MIN_FILL` of it."""
    sample = values.ravel()[:: values.size // MAX_SAMPLE + 1]
    lowest, highest = (float(value) for value in np.quantile(sample, [OUTLIERS, 1 - OUTLIERS]))
    if highest - lowest >= MIN_FILL * (high - low):
        return low, high
    return (lowest, highest) if lowest < highest else (float(values.min()), float(values.max()))


def _rescale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `values` scaled linearly from [low, high] to [0, 1] and clipped, float32."""
    rescaled: np.ndarray = np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
    return rescaled


def _first_number(header: "Dataset", keyword: str, default: float) -> float:
    """Return the first number of an element, or `default` if the element is missing or empty."""
    value: Any = header.get(keyword)
    if value is None or value == "":
        return default
    if not isinstance(value, str | float | int):
        value = value[0] if len(value) else default
    return float(value)
