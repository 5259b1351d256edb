"""Small DICOM files whose compressed pixels would need much memory are rejected before they are decoded."""

import io
import struct
import subprocess
import sys

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame

from pneumoscope.data.codestream import check_rle, find_codestream, read_j2k_size, read_jpeg_size
from pneumoscope.data.image import load_gray
from pneumoscope.errors import ImageError


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def make_siz(width, height, tile=(1 << 20, 1 << 20)):
    sizes = struct.pack(">H8I", 0, width, height, 0, 0, *tile, 0, 0)
    return segment(0x51, sizes + struct.pack(">HBBB", 1, 7, 1, 1))


def make_cod(*, layers=1, block=4, exponents=b""):
    coding = bytes([5, block, block, 0, 1])
    return segment(0x52, struct.pack(">BBHB", bool(exponents), 0, layers, 0) + coding + exponents)


def make_j2k(*segments):
    return b"\xff\x4f" + b"".join(segments) + segment(0x90, bytes(8)) + b"\xff\x93\xff\xd9"


def make_box(kind, content):
    return struct.pack(">I4s", len(content) + 8, kind) + content


def make_sof(marker, width, height):
    return segment(marker, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 17, 0))


SMALL = make_j2k(make_siz(96, 80), make_cod())
HUGE = make_j2k(make_siz(30_000, 30_000), make_cod())
SCAN = segment(0xDA, bytes(6)) + b"\xff\xd9"
SIGNATURE = make_box(b"jP  ", b"\r\n\x87\n")


@pytest.fixture
def replace_pixels(image, compress, encode):
    """Return a function that puts other compressed pixels into a file of 96 x 80 pixels."""

    def replace(kind, frame):
        dataset = dcmread(io.BytesIO(compress(image, kind)))
        dataset.PixelData = encapsulate([frame])
        return encode(dataset)

    return replace


DISGUISED = {
    "codestream in a comment": ("JPEG-LS", b"\xff\xd8" + segment(0xFE, SMALL) + make_sof(0xF7, 30_000, 30_000) + SCAN),
    "codestream in a JPEG": ("JPEG", b"\xff\xd8" + segment(0xFE, SMALL) + make_sof(0xC0, 30_000, 30_000) + SCAN),
    "codestream in a box": ("JPEG 2000", SIGNATURE + make_box(b"free", SMALL) + make_box(b"jp2c", HUGE)),
    "box of 64-bit length": (
        "JPEG 2000",
        SIGNATURE + struct.pack(">I4sQ", 1, b"free", 16 + len(SMALL)) + SMALL + make_box(b"jp2c", HUGE),
    ),
    "JPEG-LS header in a JPEG": ("JPEG", b"\xff\xd8" + make_sof(0xF7, 96, 80) + SCAN),
    "JPEG in JPEG 2000": ("JPEG 2000", b"\xff\xd8" + make_sof(0xC0, 96, 80) + SCAN),
    "two frame headers": ("JPEG", b"\xff\xd8" + make_sof(0xC0, 96, 80) + make_sof(0xC0, 30_000, 30_000) + SCAN),
    "size replaced": (
        "JPEG-LS",
        b"\xff\xd8" + make_sof(0xF7, 96, 80) + segment(0xF8, b"\4\2" + struct.pack(">HH", 1, 1)) + SCAN,
    ),
    "two megabytes for 8 kilobytes": ("RLE", struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * (1 << 20)),
    "a segment that expands": ("RLE", struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 4000),
    "a segment of no operations": ("RLE", struct.pack("<16L", 1, 64, *[0] * 14) + b"\x80" * 20_000),
}


@pytest.mark.parametrize("name", DISGUISED)
def test_a_disguised_size_is_rejected_before_decoding(name, replace_pixels, monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("pneumoscope.data.dicom_frame._decode", decode)
    monkeypatch.setattr("pneumoscope.data.dicom_frame._decode_in_subprocess", decode)
    with pytest.raises(ImageError, match=r"compressed pixels|codestream|frame headers|size above|RLE segment"):
        load_gray(replace_pixels(*DISGUISED[name]))


@pytest.mark.parametrize(
    "codestream",
    [
        make_j2k(make_siz(4000, 4000, tile=(8, 8)), make_cod()),
        make_j2k(make_siz(4000, 4000), make_cod(block=0)),
        make_j2k(make_siz(4000, 4000), make_cod(exponents=b"\x11" * 6)),
        make_j2k(make_siz(4000, 4000), make_cod(layers=65535, exponents=b"\x66" * 6)),
        make_j2k(make_siz(4000, 4000), make_cod(), segment(0x53, b"\0\1" + bytes([5, 4, 4, 0, 1]) + b"\x11" * 6)),
        # In the header of a second tile part, after 14 bytes of the first.
        b"\xff\x4f"
        + make_siz(4000, 4000)
        + make_cod()
        + segment(0x90, struct.pack(">HIBB", 0, 18, 0, 2))
        + b"\xff\x93\0\0\0\0"
        + segment(0x90, bytes(8))
        + make_cod(block=0)
        + b"\xff\x93\xff\xd9",
    ],
    ids=["tiles", "blocks", "precincts", "layers", "component", "tile part"],
)
def test_a_codestream_of_too_many_parts_is_rejected(codestream):
    with pytest.raises(ImageError, match=r"JPEG 2000 of .* expected"):
        read_j2k_size(codestream)


@pytest.mark.parametrize(
    "codestream",
    [
        b"\xff\x4f" + make_cod() + make_siz(96, 80),
        make_j2k(make_siz(96, 80), segment(0x30, make_cod(block=0))),
        make_j2k(make_siz(96, 80), make_siz(4000, 4000)),
        make_j2k(make_siz(0, 80)),
        make_j2k(make_siz(96, 80, tile=(0, 0))),
        make_j2k(make_siz(96, 80), make_cod()[:8]),
        b"\xff\x4f\xff\x51",
        b"",
    ],
)
def test_a_damaged_codestream_is_rejected(codestream):
    with pytest.raises(ImageError, match="damaged JPEG 2000"):
        read_j2k_size(codestream)


def test_sizes_are_those_of_the_encoder(image, compress, make_png):
    for kind, read in {
        "JPEG": read_jpeg_size,
        "JPEG lossless": read_jpeg_size,
        "JPEG-LS": lambda frame: read_jpeg_size(frame, jpeg_ls=True),
        "JPEG 2000": read_j2k_size,
    }.items():
        frame = get_frame(dcmread(io.BytesIO(compress(image, kind))).PixelData, 0, number_of_frames=1)
        assert read(frame) == (96, 80, 1), kind
    for options in ({"tile_size": (32, 32)}, {"precinct_size": (64, 64)}, {"quality_layers": [20, 10, 2]}):
        assert read_j2k_size(find_codestream(make_png(image, "JPEG2000", **options))) == (96, 80, 1)


def test_pixels_in_a_jp2_file_are_read(image, make_png, replace_pixels):
    plain = load_gray(make_png(image))
    assert (load_gray(replace_pixels("JPEG 2000", make_png(image, "JPEG2000"))) == plain).all()


def test_padding_of_an_rle_segment_is_ignored(image, compress):
    frame = get_frame(dcmread(io.BytesIO(compress(image, "RLE"))).PixelData, 0, number_of_frames=1)
    check_rle(frame + bytes(9), 96, 80)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux enforces the limit")
def test_memory_of_the_decoder_process_is_limited():
    code = "from pneumoscope.data.dicom_frame import _limit_memory; _limit_memory(); bytearray({} << 20)"
    ends = [
        subprocess.run([sys.executable, "-c", code.format(size)], capture_output=True, text=True)
        for size in (512, 1100)
    ]
    assert ends[0].returncode == 0
    assert ends[1].stderr.endswith("MemoryError\n")
