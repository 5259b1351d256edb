"""Faults of DICOM and other files that leave the pixels usable: the gray levels are those of the plain image."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumoscope.data.image import load_gray
from pneumoscope.data.remarks import WARNINGS, Remarks
from pneumoscope.errors import ImageError

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom writes faulty elements, too
GRAY_LEVEL = 1 / 255 + 1e-6


def load(source, **options):
    remarks = Remarks()
    gray = load_gray(source, remarks=remarks, **options)
    assert set(remarks.warnings) <= set(WARNINGS)
    assert (remarks.width, remarks.height) == (96, 80)
    return gray, remarks


def make_table(first, count, *, values=None, vr="US", first_vr=None):
    item = Dataset()
    item.add_new("LUTDescriptor", first_vr or "US", [count, first, 16])
    entries = np.linspace(0, 65535, count).astype(np.uint16) if values is None else values
    item.add_new("LUTData", vr, entries.astype(np.int16 if vr == "SS" else np.uint16).tolist())
    return [item]


HARMLESS = {
    "no frames": ({"NumberOfFrames": 0}, []),
    "rescale with decimal comma": ({"RescaleSlope": "1,0", "RescaleIntercept": "0,0"}, []),
    "text as slope": ({"RescaleSlope": "one"}, ["header_damaged"]),
    "window without width": ({"WindowCenter": 2048}, ["window_ignored"]),
    "window of text": ({"WindowCenter": "mid", "WindowWidth": "wide"}, ["header_damaged", "window_ignored"]),
    "window of 8 bits": ({"WindowCenter": 127, "WindowWidth": 255}, ["window_ignored"]),
    "window of a CT": ({"WindowCenter": 40, "WindowWidth": 400}, ["window_ignored"]),
    "window of the darkest half": ({"WindowCenter": 1024, "WindowWidth": 2048}, ["window_ignored"]),
    "saturating VOI LUT": (
        {"VOILUTSequence": make_table(0, 4096, values=np.where(np.arange(4096) > 500, 65535, 0))},
        ["window_ignored"],
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_an_optional_fault_is_ignored_and_warned_of(name, image, make_dataset, encode):
    elements, warnings = HARMLESS[name]
    dataset = make_dataset(image, bits=12)
    for keyword, value in elements.items():
        if isinstance(value, str):  # pydicom does not write it as a number
            dataset.add_new(keyword, "LO", value)
        else:
            setattr(dataset, keyword, value)
    gray, remarks = load(encode(dataset))
    np.testing.assert_allclose(gray, image / 255, atol=GRAY_LEVEL)
    assert sorted(remarks.warnings) == warnings


@pytest.mark.parametrize("low", [0.0, 0.02, 0.1])
def test_a_usual_window_is_applied(low, image, make_dicom):
    start, end = np.quantile(image, [low, 1 - low]) * 4095 / 255
    gray, remarks = load(make_dicom(image, bits=12, WindowCenter=(start + end) / 2, WindowWidth=end - start))
    np.testing.assert_allclose(gray, np.clip((image * (4095 / 255) - start) / (end - start), 0, 1), atol=0.01)
    assert remarks.warnings == []


def test_a_dark_background_does_not_make_a_window_saturating(image, make_dicom):
    framed = image.copy()
    framed[:, :40] = 0
    _, remarks = load(make_dicom(framed, bits=12, WindowCenter=2100, WindowWidth=3900))
    assert remarks.warnings == []


@pytest.mark.parametrize("stored", [8, 10])
def test_more_bits_than_declared_are_noticed(stored, image, make_dataset, encode):
    dataset = make_dataset(image, bits=12)
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    gray, remarks = load(encode(dataset))
    np.testing.assert_allclose(gray, image / 255, atol=GRAY_LEVEL)
    assert remarks.warnings == ["bits_stored_wrong"]


@pytest.mark.parametrize("kind", ["native", "JPEG 2000", "JPEG-LS"])
def test_overlay_bits_are_cleared(kind, image, make_dataset, encode, compress):
    pixels = np.rint(image * (4095 / 255)).astype(np.uint16)
    pixels[10:20, 10:30] |= 0x1000
    gray, remarks = load(
        encode(make_dataset(pixels, bits=12)) if kind == "native" else compress(pixels, kind, BitsStored=12, HighBit=11)
    )
    np.testing.assert_allclose(gray, image / 255, atol=GRAY_LEVEL)
    assert remarks.warnings == []


def test_padding_has_the_sign_of_the_pixels(image, make_dataset, encode):
    pixels = image.astype(np.int16) * 8
    pixels[:, :10] = -2000
    dataset = make_dataset(pixels, syntax=ImplicitVRLittleEndian)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    gray, _ = load(encode(dataset))
    np.testing.assert_allclose(gray[:, 10:], image[:, 10:] / 255, atol=0.01)
    assert (gray[:, :10] == 0).all()


@pytest.mark.parametrize("first_vr", ["US", "SS"])
def test_the_first_value_of_a_voi_lut_has_the_sign_of_the_rescaled_values(first_vr, image, make_dicom):
    first = -1024 if first_vr == "SS" else 65536 - 1024
    table = make_table(first, 4096, first_vr=first_vr)
    data = make_dicom(image, bits=12, RescaleIntercept=-1024, RescaleSlope=1, VOILUTSequence=table)
    np.testing.assert_allclose(load(data)[0], image / 255, atol=GRAY_LEVEL)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_lut_data_are_unsigned(syntax, image, make_dicom):
    options = {"syntax": syntax} if syntax else {}
    data = make_dicom(image, bits=12, ModalityLUTSequence=make_table(0, 4096, vr="SS"), **options)
    np.testing.assert_allclose(load(data)[0], image / 255, atol=GRAY_LEVEL)


def test_a_deflated_file_is_read_within_limits(image, make_dicom, monkeypatch):
    data = make_dicom(image, bits=12, syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_allclose(load(data)[0], image / 255, atol=GRAY_LEVEL)
    monkeypatch.setattr("pneumoscope.data.dicom.MAX_BYTES", 5000)
    with pytest.raises(ImageError, match="after decompression"):
        load_gray(io.BytesIO(data))


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_fewer_bits_in_16_are_stretched_as_in_dicom(bits, kind, image, make_png):
    gray, remarks = load(make_png(np.rint(image * ((2**bits - 1) / 255)).astype(np.uint16), kind))
    np.testing.assert_allclose(gray, image / 255, atol=GRAY_LEVEL)
    assert remarks.warnings == ["range_stretched"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("TIFF", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG2000", {"irreversible": False})],
)
def test_other_formats_are_read(kind, options, image, make_png):
    np.testing.assert_allclose(load(make_png(image, kind, **options))[0], image / 255, atol=GRAY_LEVEL)


def test_several_images_in_a_file_are_an_error(image):
    stream, pages = io.BytesIO(), [Image.fromarray(image)] * 3
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="3 images in one TIFF file"):
        load_gray(stream.getvalue())


def make_chunk(kind, content, *, damaged=False):
    crc = zlib.crc32(kind + content) ^ damaged
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


@pytest.mark.parametrize(
    "chunk",
    [
        make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000))),
        make_chunk(b"tEXt", b"Comment\0text", damaged=True),
        make_chunk(b"iCCP", b"x\0\0broken", damaged=True),
    ],
    ids=["huge text", "damaged text", "damaged profile"],
)
def test_text_of_a_png_file_does_not_matter(chunk, image, make_png):
    plain = make_png(image)
    gray, remarks = load(plain[:33] + chunk + plain[33:])
    np.testing.assert_array_equal(gray, load_gray(plain))
    assert remarks.warnings == ["text_chunks_ignored"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_colored_image_is_objected_to(kind, image, color_image, make_png):
    (objection,) = load(make_png(color_image, kind), size=64)[1].objections
    assert "colored; expected gray levels" in objection
    marked = np.stack([image] * 3, axis=-1)
    marked[:8, :20] = (255, 0, 0)
    assert load(make_png(marked, kind), size=64)[1].objections == []
