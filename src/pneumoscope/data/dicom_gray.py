"""Grayscale transformations of DICOM (PS3.4 N.2): stored values to the gray levels that a viewer shows."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.dicom_frame import read_int, read_number
from pneumoscope.data.remarks import Remarks

if TYPE_CHECKING:
    from pydicom import Dataset

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow
OUTLIERS = 0.001
MIN_FILL = 0.5
# On 90 originals of Kermany 2018 at 12 bits: of windows from the 10 to the 90 percentile or wider, none is ignored; of
# 127/255 and 40/400, left over from 8 bits and from CT, all are; of the darkest and brightest half, 86 and 82 are.
MAX_CLIPPED = 0.25
MAX_SAMPLE = 1_000_000


def present_gray(stored: np.ndarray, header: "Dataset", remarks: Remarks, *, limit_clipping: bool = True) -> np.ndarray:
    """Convert stored values to gray levels: modality LUT, then VOI LUT or window, then polarity.

    A VOI LUT takes precedence over a window, and the first of several is used. It is ignored if the result is constant
    or clips more than `MAX_CLIPPED` of the pixels, and so is a width under 1. Without either, the range of the stored
    bits maps to black through white (identity, PS3.4 N.2.1.3). If more than 8 bits are stored and the pixels fill less
    than half of that range, it is stretched, see `choose_range`.

    Padding (PS3.3 C.7.5.1.1.2) becomes black and is excluded from the range. Color is converted to luma.

    Args:
        stored: `(H, W)` or `(H, W, 3)` ints, see `decode_frame`.
        header: DICOM header of the image.
        remarks: gets a warning for what is ignored or stretched.
        limit_clipping: whether to ignore a VOI LUT or window that clips too many pixels.

    Returns:
        `(H, W)` float32 in [0, 1], 0 = black, bone bright.

    Raises:
        Exception: of any type, if the header is damaged. `load_dicom` converts it to `ImageError`.
    """
    bits = read_int(header, "BitsStored")
    if stored.ndim == 3:
        # Other products of matrices would first convert all samples.
        luma: np.ndarray = np.einsum("ijk,k->ij", stored, np.array(LUMA, np.float32), dtype=np.float32)
        return np.asarray(np.clip(luma / (2**bits - 1), 0, 1))
    padding = _find_padding(stored, header, remarks)
    shown: Any = ... if padding is None else ~padding
    values, low, high = apply_modality(stored, header, remarks)
    presented = _apply_voi_lut(values, low, header)
    if presented is None:
        presented = _apply_window(values, header, remarks)
    if presented is not None and limit_clipping and _clips(presented[shown], values[shown]):
        presented = None
    if presented is None:
        if header.get("VOILUTSequence") or header.get("WindowCenter") not in (None, ""):
            remarks.warn("window_ignored")
        if bits > 8:
            low, high = choose_range(values[shown], low, high, remarks)
        presented = rescale(values, low, high)
    if header.PhotometricInterpretation == "MONOCHROME1":
        presented = np.subtract(1, presented, out=presented)
    if padding is not None:
        presented[padding] = 0
    return presented


def _clips(presented: np.ndarray, values: np.ndarray) -> bool:
    """Return whether more than `MAX_CLIPPED` of the pixels become black or white, except the darkest and brightest."""
    step = values.size // MAX_SAMPLE + 1
    presented, values = presented.ravel()[::step], values.ravel()[::step]
    darkest, brightest = np.quantile(values, [OUTLIERS, 1 - OUTLIERS])
    clipped = (np.abs(presented - 0.5) >= 0.5 - 1 / 510) & (values > darkest) & (values < brightest)
    return bool(clipped.mean() > MAX_CLIPPED)


def _find_padding(stored: np.ndarray, header: "Dataset", remarks: Remarks) -> np.ndarray | None:
    """Return `(H, W)` bool, True at padding pixels (PS3.3 C.7.5.1.1.2); None if there are none."""
    value = read_number(header, "PixelPaddingValue", remarks)
    if value is None:
        return None
    limit = read_number(header, "PixelPaddingRangeLimit", remarks)
    # The value is of the same bits as the pixels, whatever its VR says.
    ends = np.array([value, value if limit is None else limit]).astype(np.int64).astype(stored.dtype)
    padding: np.ndarray = (stored >= ends.min()) & (stored <= ends.max())
    return None if padding.all() else padding


def apply_modality(stored: np.ndarray, header: "Dataset", remarks: Remarks) -> tuple[np.ndarray, float, float]:
    """Return float32 values after the modality LUT (PS3.3 C.11.1), and the minimum and maximum possible value."""
    bits, signed = read_int(header, "BitsStored"), read_int(header, "PixelRepresentation", 0)
    lowest = -(2 ** (bits - 1)) if signed else 0
    if header.get("ModalityLUTSequence"):
        return _apply_table(stored, lowest, header.ModalityLUTSequence[0], header)
    slope = read_number(header, "RescaleSlope", remarks) or 1.0
    intercept = read_number(header, "RescaleIntercept", remarks) or 0.0
    ends = [slope * end + intercept for end in (lowest, lowest + 2**bits - 1)]
    values = stored.astype(np.float32)
    values *= np.float32(slope)
    values += np.float32(intercept)
    return values, min(ends), max(ends)


def _apply_voi_lut(values: np.ndarray, lowest: float, header: "Dataset") -> np.ndarray | None:
    """Return gray levels after the first VOI LUT (PS3.3 C.11.2.1.1), or None if it is missing or constant."""
    if not header.get("VOILUTSequence"):
        return None
    entries, low, high = _apply_table(np.rint(values).astype(np.int64), lowest, header.VOILUTSequence[0], header)
    return None if entries.min() == entries.max() else rescale(entries, low, high)


def _apply_window(values: np.ndarray, header: "Dataset", remarks: Remarks) -> np.ndarray | None:
    """Return gray levels after the first window (PS3.3 C.11.2.1.2, C.11.2.1.3), or None if missing or unusable."""
    center, width = (read_number(header, keyword, remarks) for keyword in ("WindowCenter", "WindowWidth"))
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
    if center is None or width is None or width < (1 if function == "LINEAR" else 1e-6):
        return None
    if function == "SIGMOID":
        presented = 1 / (1 + np.exp(np.clip(-4 * (values - np.float32(center)) / np.float32(width), -80, 80)))
    elif function == "LINEAR_EXACT":
        presented = rescale(values, center - width / 2, center + width / 2)
    else:
        presented = rescale(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
    return None if presented.min() == presented.max() else presented


def _apply_table(
    values: np.ndarray, lowest: float, item: "Dataset", header: "Dataset"
) -> tuple[np.ndarray, float, float]:
    """Return float32 look-up table entries, and the minimum and maximum possible entry (PS3.3 C.11.1.1.1).

    The first mapped value is signed if `lowest`, the minimum possible value, is negative. Entries are unsigned. Files
    give both another VR, and with implicit VR pydicom chooses it by the pixels.

    pydicom's own function stores indices with the bit depth of the entries, so 12-bit indices into 8-bit entries
    overflow.
    """
    descriptor: list[int] = [int(number) for number in item.LUTDescriptor]
    entries, bits = descriptor[0] % 65536 or 65536, descriptor[2]
    first = int(np.array(descriptor[1] % 65536).astype(np.int16 if lowest < 0 else np.uint16))
    raw: Any = item.LUTData
    if isinstance(raw, bytes):
        order = "<" if header.original_encoding[1] else ">"
        table = np.frombuffer(raw, np.uint8 if len(raw) < 2 * entries else np.dtype(f"{order}u2"))
    else:
        table = np.atleast_1d(np.asarray(raw, np.int64)) % 65536
    table = table[:entries].astype(np.float32)
    high = 2**bits - 1
    if table.max() < MIN_FILL * high:
        high = float(table.max())  # 12 bits declared as 16
    places = values.astype(np.int64) - first
    return table[np.clip(places, 0, len(table) - 1, out=places)], 0.0, high


def choose_range(values: np.ndarray, low: float, high: float, remarks: Remarks) -> tuple[float, float]:
    """Return `(low, high)`, or a smaller range if the values fill less than `MIN_FILL` of it.

    It is that of fewer bits, as of 12 bits declared as 16, if the values fill half of that; else it is the 0.1 to 99.9
    percentile of the values.
    """
    sample = values.ravel()[:: values.size // MAX_SAMPLE + 1]
    lowest, highest = (float(value) for value in np.quantile(sample, [OUTLIERS, 1 - OUTLIERS]))
    if highest - lowest >= MIN_FILL * (high - low):
        return low, high
    remarks.warn("range_stretched")
    bits = max(int(highest).bit_length(), int(-lowest - 1).bit_length() if lowest < 0 else 0)
    start, end = -float(1 << bits) if lowest < 0 else 0.0, float((1 << bits) - 1)
    if highest - lowest >= MIN_FILL * (end - start) > 0:
        return start, end
    return (lowest, highest) if lowest < highest else (float(values.min()), float(values.max()))


def rescale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `values` scaled linearly from [low, high] to [0, 1] and clipped, float32."""
    rescaled: np.ndarray = np.subtract(values, np.float32(low), dtype=np.float32)
    rescaled /= np.float32(max(high - low, 1e-6))
    return np.clip(rescaled, 0, 1, out=rescaled)
