"""The stored pixels of a DICOM image of one frame, compressed or not.

What a file declares is checked before any pixel is decoded, so that a small file cannot claim much memory.
The decoders of JPEG-LS (CharLS) and lossless JPEG (GDCM) may abort the whole process or run for minutes
on damaged data, so they run in a process of their own.
"""

import io
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.source import check_size
from pneumoscope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

APART_SECONDS = 60

# Transfer syntaxes of PS3.5 annex A, and which of pydicom's decoders reads them.
NATIVE_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
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
_APART = {"gdcm": ("gdcm", "python-gdcm"), "pyjpegls": ("jpeg_ls", "pyjpegls")}
_GRAY, _COLOR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_RLE, _JPEG_EXTENDED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.51"
_J2K_START = b"\xff\x4f\xff\x51"
_NO_FRAME_HEADERS = {0xC4, 0xC8, 0xCC}  # Huffman tables, reserved, arithmetic conditioning


def check_syntax(syntax: str) -> None:
    """Reject an unsupported encoding, by the UID of its transfer syntax (PS3.5 section 10).

    Deflated files are rejected too: their size is unknown before they are inflated.

    Raises:
        ImageError: with the encoding's name where DICOM knows it.
    """
    if syntax in NATIVE_SYNTAXES or syntax in _DECODERS:
        return
    from pydicom.uid import UID

    name = UID(syntax).name if UID(syntax).is_transfer_syntax else "an unknown transfer syntax"
    raise ImageError(f"DICOM encoded as {name}; expected uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000")


def check_pixels(header: "Dataset") -> None:
    """Reject pixels that cannot be a radiograph, by what the header declares (PS3.3 C.7.6.3).

    Raises:
        ImageError: if there are several frames, a side is under 16 pixels, all are over 80 megapixels, or the
            layout is other than one gray or three color samples of 8 to 16 bits.
    """
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("DICOM without an image, or cut off before it")
    if (frames := read_int(header, "NumberOfFrames", 1)) != 1:
        raise ImageError(f"DICOM of {frames} frames; expected a single image")
    check_size(read_int(header, "Columns"), read_int(header, "Rows"))
    samples, kind = read_int(header, "SamplesPerPixel", 1), header.get("PhotometricInterpretation")
    if (samples, kind) not in [*((1, gray) for gray in _GRAY), *((3, color) for color in _COLOR)]:
        name = kind if kind in (*_GRAY, *_COLOR, "PALETTE COLOR") else "an unknown kind"
        raise ImageError(f"DICOM pixels of {samples} samples, {name}; expected MONOCHROME1 or 2, RGB or YBR")
    allocated, stored = read_int(header, "BitsAllocated"), read_int(header, "BitsStored")
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise ImageError(f"DICOM pixels of {stored} bits stored in {allocated}; expected 8 to 16 in 8 or 16")
    if (high := read_int(header, "HighBit", stored - 1)) != stored - 1:
        raise ImageError(f"DICOM pixels of {stored} bits whose highest is bit {high}; expected {stored - 1}")
    if read_int(header, "PixelRepresentation", 0) not in (0, 1):
        raise ImageError("DICOM pixels neither unsigned nor signed")


def read_int(header: "Dataset", keyword: str, default: int | None = None) -> int:
    """Return an integer of the header, or `default` where it is not stated.

    Raises:
        ImageError: if it is no number, or is missing and there is no default.
    """
    value: Any = header.get(keyword)
    if value is None or value == "":
        value = default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ImageError(f"damaged DICOM file: {keyword} is missing or no number") from None


def decode_frame(dataset: "Dataset", data: bytes) -> np.ndarray:
    """Decode the pixels of a single-frame image, parsed from `data` and passed by `check_pixels`.

    Returns:
        `(H, W)` or, in color, `(H, W, 3)`: the values as stored, uint8, int8, uint16 or int16, without bits
        beyond those stored; YBR converted to RGB.

    Raises:
        ImageError: if there are no pixels, or they are cut off or other than the header declares.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset or not dataset.PixelData:
        raise ImageError("DICOM without pixel data, or cut off before it")
    if syntax in NATIVE_SYNTAXES:
        _check_length(dataset)
        frame = _decode(dataset, "")
    else:
        _check_codestream(dataset, syntax)
        decoder = _DECODERS[syntax]
        frame = _decode_apart(data, decoder) if decoder in _APART else _decode(dataset, decoder)
    expected = (dataset.Rows, dataset.Columns, 3)[: 3 if read_int(dataset, "SamplesPerPixel", 1) == 3 else 2]
    if frame.shape != expected:
        raise ImageError(f"damaged DICOM file: pixels of {_name(frame.shape)}; declared are {_name(expected)}")
    return frame


def _decode(dataset: "Dataset", decoder: str) -> np.ndarray:
    from pydicom.pixels.utils import pixel_array

    return pixel_array(dataset, index=0, decoding_plugin=decoder)


def _check_length(dataset: "Dataset") -> None:
    bits = dataset.Rows * dataset.Columns * read_int(dataset, "SamplesPerPixel", 1) * dataset.BitsAllocated
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    if len(dataset.PixelData) < bits // 8:
        raise ImageError(f"DICOM cut off: {len(dataset.PixelData)} bytes of pixels, where {bits // 8} are declared")


def _check_codestream(dataset: "Dataset", syntax: str) -> None:
    from pydicom.encaps import get_frame

    if syntax == _RLE:
        return
    if syntax == _JPEG_EXTENDED and dataset.BitsStored > 8:
        raise ImageError("DICOM of 12-bit lossy JPEG, which is unsupported; save it uncompressed or as JPEG 2000")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    # JPEG 2000 may end early by design, and Pillow reports by itself where JPEG does.
    if _DECODERS[syntax] in _APART and not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ImageError("DICOM cut off: its compressed pixels have no end")
    size = _read_j2k_size(frame) if _J2K_START in frame[:4096] else _read_jpeg_size(frame)
    expected = (dataset.Columns, dataset.Rows, read_int(dataset, "SamplesPerPixel", 1))
    if size != expected:
        raise ImageError(f"damaged DICOM file: compressed pixels of {_name(size)}; declared are {_name(expected)}")


def _name(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _read_jpeg_size(frame: bytes) -> tuple[int, int, int]:
    """Return width, height and components from the frame header (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2)."""
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4])
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS) or marker == 0xF7:
            height, width = int.from_bytes(frame[place + 5 : place + 7]), int.from_bytes(frame[place + 7 : place + 9])
            return width, height, frame[place + 9]
        place += 1 if marker == 0xFF else 2 + length
    raise ImageError("damaged DICOM file: compressed pixels without a frame header")


def _read_j2k_size(frame: bytes) -> tuple[int, int, int]:
    """Return width, height and components from the SIZ segment (ISO 15444-1 A.5.1)."""
    start = frame.index(_J2K_START) + 8
    right, bottom, left, top = (int.from_bytes(frame[start + 4 * n : start + 4 * n + 4]) for n in range(4))
    return right - left, bottom - top, int.from_bytes(frame[start + 32 : start + 34])


def _decode_apart(data: bytes, decoder: str) -> np.ndarray:
    module, package = _APART[decoder]
    if find_spec(module) is None:
        raise ImageError(f"DICOM compressed in a way that needs the package {package}: pip install {package}")
    command = [sys.executable, "-P", "-m", "pneumoscope.data.dicom_frame", decoder]
    try:
        done = subprocess.run(
            command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=APART_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        raise ImageError("damaged DICOM file: its compressed pixels cannot be decoded") from None
    pixels: np.ndarray = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return pixels


def _serve_parent(decoder: str) -> None:
    """Decode the file on standard input, and write its pixels as `.npy` to standard output."""
    import os
    import warnings

    from pydicom import dcmread

    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would leave the radiograph on disk
    warnings.simplefilter("ignore")
    array = io.BytesIO()
    np.save(array, _decode(dcmread(io.BytesIO(sys.stdin.buffer.read())), decoder))
    sys.stdout.buffer.write(array.getbuffer())


if __name__ == "__main__":
    _serve_parent(sys.argv[1])
