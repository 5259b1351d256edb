"""Decoding of the stored pixels of single-frame DICOM images, native or compressed.

The header and the compressed data are checked before decoding, so that a small file cannot allocate much memory. The
decoders of JPEG-LS (CharLS) and lossless JPEG (GDCM) can crash or hang on damaged data, so they run in a subprocess of
limited memory.
"""

import io
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.codestream import FrameSize, check_rle, find_codestream, read_j2k_size, read_jpeg_size
from pneumoscope.data.remarks import Remarks
from pneumoscope.data.source import check_size
from pneumoscope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

SUBPROCESS_TIMEOUT = 60
SUBPROCESS_BYTES = 1 << 30  # of memory, without the interpreter
# Decoding takes up to 20 bytes a pixel and five times the file, and all together under 1 GB. The largest plain
# radiographs have 20 megapixels.
MAX_DICOM_PIXELS = 25_000_000
MAX_EXPANSION = 4  # compressed bytes by byte of the pixels; noise has about 1.3

# Transfer syntaxes of PS3.5 annex A, and the pydicom decoding plugin of each.
NATIVE_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
DEFLATED = "1.2.840.10008.1.2.1.99"
_DECODERS = {
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG extended
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
}
_SUBPROCESS_DECODERS = {"gdcm": ("gdcm", "python-gdcm"), "pyjpegls": ("jpeg_ls", "pyjpegls")}
_GRAY, _COLOR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_RLE, _JPEG_EXTENDED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.51"
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_J2K = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_SAMPLE, _SAMPLED_ROWS = 1_000_000, 500


def check_syntax(syntax: str) -> None:
    """Check that a transfer syntax UID is supported (PS3.5 section 10).

    Raises:
        ImageError: if the transfer syntax is not supported.
    """
    if syntax in (*NATIVE_SYNTAXES, DEFLATED, *_DECODERS):
        return
    from pydicom.uid import UID

    name = UID(syntax).name if UID(syntax).is_transfer_syntax else "unknown"
    raise ImageError(f"DICOM transfer syntax is {name}; expected uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000")


def check_pixels(header: "Dataset") -> None:
    """Check that the header declares the pixels of a radiograph (PS3.3 C.7.6.3).

    Raises:
        ImageError: if the image has several frames, a side under 16 pixels, more than 25 megapixels, or a pixel format
            other than one gray or three color samples of 8 to 16 bits.
    """
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("DICOM file without an image, or truncated")
    if (frames := read_number(header, "NumberOfFrames") or 1) > 1:
        raise ImageError(f"DICOM image has {frames:.0f} frames; expected a single frame")
    check_size(read_int(header, "Columns"), read_int(header, "Rows"), most=MAX_DICOM_PIXELS)
    samples, photometric = read_int(header, "SamplesPerPixel", 1), header.get("PhotometricInterpretation")
    if (samples, photometric) not in [*((1, gray) for gray in _GRAY), *((3, color) for color in _COLOR)]:
        name = photometric if photometric in (*_GRAY, *_COLOR, "PALETTE COLOR") else "unknown"
        raise ImageError(
            f"DICOM photometric interpretation is {name} with {samples} samples per pixel; "
            "expected MONOCHROME1 or MONOCHROME2 with 1, or RGB or YBR with 3"
        )
    allocated, stored = read_int(header, "BitsAllocated"), read_int(header, "BitsStored")
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise ImageError(
            f"DICOM bits stored are {stored}, bits allocated {allocated}; expected 8 to 16 stored, 8 or 16 allocated"
        )
    if (high := read_int(header, "HighBit", stored - 1)) != stored - 1:
        raise ImageError(f"DICOM high bit is {high} with {stored} bits stored; expected {stored - 1}")
    if read_int(header, "PixelRepresentation", 0) not in (0, 1):
        raise ImageError("DICOM pixel representation is neither 0 (unsigned) nor 1 (signed)")


def read_int(header: "Dataset", keyword: str, default: int | None = None) -> int:
    """Return an integer attribute of the header, or `default` if it is missing.

    Raises:
        ImageError: if the value is not a number, or is missing and there is no default.
    """
    value: Any = header.get(keyword)
    if value is None or value == "":
        value = default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ImageError(f"damaged DICOM file: {keyword} is missing or not a number") from None


def read_number(header: "Dataset", keyword: str, remarks: Remarks | None = None) -> float | None:
    """Return the first number of an optional element; None if it is missing or, with a warning, no number.

    A decimal comma is read as a decimal point.
    """
    try:
        value: Any = header.get(keyword)
        if value is not None and not isinstance(value, str | float | int):
            value = value[0] if len(value) else None
        number = None if value is None or value == "" else float(str(value).replace(",", "."))
    except Exception:  # pydicom raises any type on values that do not match their VR
        number = np.nan
    if number is not None and not np.isfinite(number):
        if remarks:
            remarks.warn("header_damaged")
        return None
    return number


def decode_frame(dataset: "Dataset", data: bytes, remarks: Remarks) -> np.ndarray:
    """Decode the stored values of a single-frame image.

    Args:
        dataset: parsed from `data`; passes `check_pixels`. If the pixels have more bits than it declares, its bit depth
            becomes that of the pixels. It loses its pixel data.
        data: bytes of the file.
        remarks: gets a warning if the bit depth is wrong.

    Returns:
        Stored values, uint8, int8, uint16 or int16: `(H, W)`, or `(H, W, 3)` RGB for color. Bits above the stored
        bits, as of overlays, are cleared.

    Raises:
        ImageError: if the pixel data are missing, truncated, or do not match the header.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset or not dataset.PixelData:
        raise ImageError("DICOM file without pixel data, or truncated")
    if syntax in NATIVE_SYNTAXES:
        _check_length(dataset)
        frame = _decode_all_bits(dataset)
    else:
        _check_frame(dataset, syntax)
        decoder = _DECODERS[syntax]
        frame = _decode_in_subprocess(data, decoder) if decoder in _SUBPROCESS_DECODERS else _decode(dataset, decoder)
    del dataset.PixelData  # the memory is needed for the gray levels
    expected = (dataset.Rows, dataset.Columns, 3)[: 3 if read_int(dataset, "SamplesPerPixel", 1) == 3 else 2]
    if frame.shape != expected:
        raise ImageError(
            f"damaged DICOM file: pixels are {_format_shape(frame.shape)}, header declares {_format_shape(expected)}"
        )
    return _keep_stored_bits(frame, dataset, remarks)


def _decode_all_bits(dataset: "Dataset") -> np.ndarray:
    """Return native pixels with the bits above the stored ones."""
    stored, high = dataset.BitsStored, dataset.get("HighBit")
    dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    try:
        return _decode(dataset, "")
    finally:
        dataset.BitsStored, dataset.HighBit = stored, high


def _keep_stored_bits(frame: np.ndarray, dataset: "Dataset", remarks: Remarks) -> np.ndarray:
    """Clear the bits above the stored ones, unless that would make a continuous image discontinuous."""
    stored, signed = read_int(dataset, "BitsStored"), frame.dtype.kind == "i"
    frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    kept = frame.view(f"u{frame.itemsize}") & ((1 << stored) - 1)
    if signed:
        sign = 1 << (stored - 1)
        kept = kept.astype(np.int32)
        kept ^= sign
        kept -= sign
    kept = kept.astype(frame.dtype, copy=False)
    if frame.ndim == 3 or np.array_equal(kept, frame):
        return kept
    sample = np.abs(frame.ravel()[:: frame.size // _SAMPLE + 1].astype(np.int32))
    bits = int(sample.max()).bit_length() + signed
    if _count_jumps(kept, stored) <= _count_jumps(frame, bits):
        return kept
    remarks.warn("bits_stored_wrong")
    # A few outliers do not decide the depth.
    bits = int(np.quantile(sample, 0.999)).bit_length() + signed
    dataset.BitsStored = min(max(stored, bits), 8 * frame.itemsize)
    return frame


def _count_jumps(frame: np.ndarray, bits: int) -> int:
    """Return the number of neighbors in a row that differ by nearly half of the range of the bits, or more."""
    steps = np.abs(np.diff(frame[:: len(frame) // _SAMPLED_ROWS + 1].astype(np.int32), axis=1))
    return int((steps > 0.45 * (1 << bits)).sum())


def _decode(dataset: "Dataset", decoder: str) -> np.ndarray:
    from pydicom.pixels.utils import pixel_array

    dataset.pop("NumberOfFrames", None)  # `check_pixels` accepts values that pydicom does not
    return pixel_array(dataset, index=0, decoding_plugin=decoder)


def _check_length(dataset: "Dataset") -> None:
    bits = dataset.Rows * dataset.Columns * read_int(dataset, "SamplesPerPixel", 1) * dataset.BitsAllocated
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    if len(dataset.PixelData) < bits // 8:
        raise ImageError(f"truncated DICOM file: {len(dataset.PixelData)} bytes of pixels; expected {bits // 8}")


def _check_frame(dataset: "Dataset", syntax: str) -> None:
    """Check the compressed pixels, and leave nothing else in the dataset that a decoder could take for them."""
    from pydicom.encaps import encapsulate, get_frame

    if syntax == _JPEG_EXTENDED and dataset.BitsStored > 8:
        raise ImageError("12-bit lossy JPEG in DICOM is not supported; save the file uncompressed or as JPEG 2000")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    # JPEG 2000 may end early by design, and Pillow reports truncated JPEG.
    if _DECODERS[syntax] in _SUBPROCESS_DECODERS and not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ImageError("truncated DICOM file: the compressed pixels have no end marker")
    expected = FrameSize(dataset.Columns, dataset.Rows, read_int(dataset, "SamplesPerPixel", 1))
    num_bytes = expected.width * expected.height * expected.components * dataset.BitsAllocated // 8
    if len(frame) > MAX_EXPANSION * num_bytes + (1 << 20):
        raise ImageError(f"damaged DICOM file: {len(frame)} bytes of compressed pixels for {num_bytes} of pixels")
    if syntax in _J2K:
        frame = find_codestream(frame)
    if syntax == _RLE:
        check_rle(frame, expected.width, expected.height)
    elif (size := _read_size(frame, syntax)) != expected:
        raise ImageError(
            f"damaged DICOM file: compressed pixels are {_format_shape(size)}, "
            f"header declares {_format_shape(expected)}"
        )
    dataset.PixelData = encapsulate([frame])
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(keyword, None)


def _read_size(frame: bytes, syntax: str) -> FrameSize:
    return read_j2k_size(frame) if syntax in _J2K else read_jpeg_size(frame, jpeg_ls=syntax in _JPEG_LS)


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _decode_in_subprocess(data: bytes, decoder: str) -> np.ndarray:
    module, package = _SUBPROCESS_DECODERS[decoder]
    if find_spec(module) is None:
        raise ImageError(f"decoding this DICOM file requires the package {package}. Run: pip install {package}")
    command = [sys.executable, "-P", "-m", "pneumoscope.data.dicom_frame", decoder]
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SUBPROCESS_TIMEOUT,
            check=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread reserves memory
        )
    except subprocess.SubprocessError:
        raise ImageError("damaged DICOM file: the compressed pixels cannot be decoded") from None
    pixels: np.ndarray = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return pixels


def _decode_stdin(decoder: str) -> None:
    """Decode the file on standard input and write the stored values as `.npy` to standard output."""
    import warnings

    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array  # noqa: F401  imported before the memory is limited

    _limit_memory()
    warnings.simplefilter("ignore")
    array = io.BytesIO()
    np.save(array, _decode(dcmread(io.BytesIO(sys.stdin.buffer.read())), decoder))
    sys.stdout.buffer.write(array.getbuffer())


def _limit_memory() -> None:
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would leave the radiograph on disk
    statm = Path("/proc/self/statm")  # Linux only; other systems do not enforce the limit
    if statm.exists():
        reserved = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (reserved + SUBPROCESS_BYTES,) * 2)


if __name__ == "__main__":
    _decode_stdin(sys.argv[1])
