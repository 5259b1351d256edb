"""Sizes that compressed pixels declare, read before a decoder allocates memory for them.

Markers and boxes are walked by their lengths, because their bytes may also stand in a comment or an unused box.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from pneumoscope.errors import ImageError

MAX_TILES = 4096
# OpenJPEG keeps up to 500 bytes for each code-block, and 2 for each packet.
MAX_BLOCKS = 500_000
MAX_PACKETS = 20_000_000
RLE_PADDING = 64

_J2K_START, _JPEG_START = b"\xff\x4f", b"\xff\xd8"
_SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0x51, 0x52, 0x53, 0x90, 0x93, 0xD9
# ISO 15444-1 table A.2 and 15444-2 MCT. OpenJPEG looks for markers inside of segments that it does not know.
_J2K_SEGMENTS = {_COD, _COC, _SOT, 0x55, 0x57, 0x58, *range(0x5C, 0x62), 0x63, 0x64, 0x74, 0x75, 0x77, 0x78}
_SOS, _LSE, _JPEG_LS = 0xDA, 0xF8, 0xF7
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3)  # baseline, extended, progressive, lossless; Huffman coding
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # Huffman tables, reserved, arithmetic conditioning
_OVERSIZE = 4  # type of an LSE segment that replaces the size of the frame header


class FrameSize(NamedTuple):
    """Columns, rows and samples per pixel."""

    width: int
    height: int
    components: int


def read_jpeg_size(data: bytes, *, jpeg_ls: bool = False) -> FrameSize:
    """Return the size in the one frame header of a JPEG or JPEG-LS image (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2).

    Args:
        data: from the start of the image.
        jpeg_ls: whether it is JPEG-LS.

    Raises:
        ImageError: if the markers before the first scan are damaged, or do not hold exactly one frame header of the
            expected kind.
    """
    sizes = []
    for marker, segment in _walk_jpeg(data):
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES) or marker == _JPEG_LS:
            if marker not in ((_JPEG_LS,) if jpeg_ls else _JPEG_FRAMES) or len(segment) < 6:
                raise ImageError("compressed pixels have a damaged frame header, or one of another kind of JPEG")
            sizes.append(FrameSize(_number(segment, 3, 2), _number(segment, 1, 2), segment[5]))
        if marker == _LSE and segment[:1] == bytes([_OVERSIZE]):
            raise ImageError("compressed pixels declare a size above 65535; expected a radiograph")
    if len(sizes) != 1:
        raise ImageError(f"compressed pixels have {len(sizes)} frame headers; expected one")
    return sizes[0]


def find_codestream(data: bytes) -> bytes:
    """Return the JPEG 2000 codestream in a JP2 file (ISO 15444-1 I.4), or the data if they begin with one.

    Raises:
        ImageError: if there is none, or the length of a box is wrong.
    """
    place = 0
    while not data.startswith(_J2K_START, place):
        length, start = _number(data, place, 4), 8
        if length == 1:
            length, start = _number(data, place + 8, 8), 16
        length = length or len(data) - place  # the last box may state 0
        if not start <= length <= len(data) - place:
            raise ImageError("damaged JPEG 2000: no codestream")
        place += start if data[place + 4 : place + 8] == b"jp2c" else length
    return data[place:]


def read_j2k_size(codestream: bytes) -> FrameSize:
    """Return the size in the SIZ segment of a JPEG 2000 codestream (ISO 15444-1 A.5.1), and check its parts.

    Raises:
        ImageError: if the markers are damaged, SIZ is not the second, or a decoder would need too much memory for the
            numbers of tiles, code-blocks or packets.
    """
    siz = codestream[6 : 4 + _number(codestream, 4, 2)]
    if not codestream.startswith(_J2K_START + bytes([0xFF, _SIZ])) or len(siz) < 36:
        raise ImageError("damaged JPEG 2000: the size is missing")
    right, bottom, left, top, tile_width, tile_height = struct.unpack(">6L", siz[2:26])
    size = FrameSize(right - left, bottom - top, _number(siz, 34, 2))
    if min(*size, tile_width, tile_height) < 1:
        raise ImageError("damaged JPEG 2000: the image or its tiles have no pixels")
    tiles = -(-right // tile_width) * -(-bottom // tile_height)
    codings = [
        _read_coding(marker, segment, size)
        for marker, segment in _walk_j2k(codestream, 4 + _number(codestream, 4, 2))
        if marker in (_COD, _COC)
    ]
    blocks, precincts, layers, levels = (max(values) for values in zip((0, 0, 0, 0), *codings, strict=True))
    edges = size.components * tiles * (levels + 1)
    if tiles > MAX_TILES or blocks + edges > MAX_BLOCKS or (precincts + edges) * layers * (levels + 1) > MAX_PACKETS:
        raise ImageError(
            f"JPEG 2000 of {tiles} tiles and up to {blocks} code-blocks; expected {MAX_TILES} and {MAX_BLOCKS} at most"
        )
    return size


def check_rle(data: bytes, width: int, height: int) -> None:
    """Check that no RLE segment decodes to much more than one byte for each pixel (PS3.5 annex G).

    Raises:
        ImageError: if the header or a segment is damaged, or a segment holds over twice the bytes that the image needs.
    """
    count, *offsets = struct.unpack("<16L", data[:64].ljust(64, b"\0"))
    offsets = [*offsets[:count], len(data)]
    most = 2 * width * height + RLE_PADDING
    if not 1 <= count <= 15 or offsets[0] < 64 or sorted(offsets) != offsets:
        raise ImageError("damaged RLE header")
    for start, end in pairwise(offsets):
        if end - start > most or _measure_packbits(data[start:end], most) > most:
            raise ImageError(f"an RLE segment holds over {most} bytes; expected {width * height}")


def _measure_packbits(segment: bytes, most: int) -> int:
    """Return the number of bytes that a segment decodes to; counting ends above `most`."""
    place, total, end = 0, 0, len(segment)
    while place < end and total <= most:
        control = segment[place]
        if control < 128:
            place += control + 2
            total += control + 1
        else:
            place += 1 if control == 128 else 2
            total += 257 - control if control > 128 else 0
    return total


def _walk_jpeg(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment before the first scan."""
    place = 2 if data.startswith(_JPEG_START) else len(data)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], _number(data, place + 2, 2)
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            break
        yield marker, data[place + 4 : place + 2 + length]
        if marker == _SOS:
            return
        place += 2 + length
    raise ImageError("damaged JPEG: the markers before the first scan are incomplete")


def _walk_j2k(codestream: bytes, place: int) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment after SIZ in the main header and the headers of the tile parts."""
    part_end = len(codestream)
    while place + 4 <= len(codestream) and codestream[place : place + 2] != bytes([0xFF, _EOC]):
        marker, length = codestream[place + 1], _number(codestream, place + 2, 2)
        if codestream[place] == 0xFF and marker == _SOD:
            place = part_end
            continue
        if codestream[place] != 0xFF or marker not in _J2K_SEGMENTS or length < 2:
            raise ImageError("damaged JPEG 2000: a marker segment is unknown, or has no length")
        if marker == _SOT:
            part_length = _number(codestream, place + 6, 4)
            if 0 < part_length < 14:
                raise ImageError("damaged JPEG 2000: a tile part has no length")
            part_end = place + part_length if part_length else len(codestream)
        yield marker, codestream[place + 4 : place + 2 + length]
        place += 2 + length


def _read_coding(marker: int, segment: bytes, size: FrameSize) -> tuple[int, int, int, int]:
    """Return the most code-blocks, precincts, layers and levels of a COD or COC segment (ISO 15444-1 A.6.1, A.6.2)."""
    if marker == _COC:  # the number of a component has two bytes if there are over 256
        index = 1 if size.components < 257 else 2
        segment = segment[index : index + 1] + bytes(4) + segment[index + 1 :]
    if len(segment) < 10 or segment[5] > 32:
        raise ImageError("damaged JPEG 2000: the coding style is incomplete")
    layers, levels = _number(segment, 2, 2), segment[5]
    exponents = segment[10 : 11 + levels] if segment[0] & 1 else b"\xff"
    precinct = [
        1 << min(((one & 15) for one in exponents), default=0),
        1 << min((one >> 4 for one in exponents), default=0),
    ]
    block = [
        min(4 << (exponent & 15), max(side // 2, 1)) for exponent, side in zip(segment[6:8], precinct, strict=True)
    ]
    blocks, precincts = (
        size.components * -(-size.width // width) * -(-size.height // height) for width, height in (block, precinct)
    )
    return blocks, precincts, layers, levels


def _number(data: bytes, place: int, count: int) -> int:
    return int.from_bytes(data[place : place + count])
