"""DICOM files of every kind a viewer meets, made here with pydicom: read alike, refused with a reason, never named."""

import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from pneumoscope.data.dicom import describe_header, is_dicom, quiet_pydicom, read_header
from pneumoscope.data.dicom_gray import present_gray
from pneumoscope.data.image import load_image
from pneumoscope.errors import ImageError

CR, DX, SC = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
NAME = "DOE^JANE"


def draw_film(seed: int = 0, size: tuple[int, int] = (96, 80)) -> np.ndarray:
    """Return `(H, W)` uint8 that spans all gray levels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def deepen(film: np.ndarray, bits: int, *, signed: bool = False) -> np.ndarray:
    """Return the film on the whole range of `bits`."""
    levels = np.rint(film.astype(np.float64) * (2**bits - 1) / 255).astype(np.int64) - signed * 2 ** (bits - 1)
    return levels.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def make_dataset(
    pixels: np.ndarray, *, bits: int = 0, syntax: str = ExplicitVRLittleEndian, **elements: object
) -> Dataset:
    """Return a computed radiograph of one frame, `elements` set last; None takes an element out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = NAME, "4711", "CR"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 and syntax != ImplicitVRLittleEndian else "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def encode(dataset: Dataset) -> bytes:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CR)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", generate_uid())
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def make_dicom(pixels: np.ndarray, **options: object) -> bytes:
    return encode(make_dataset(pixels, **options))


def make_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def compress(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """Return a DICOM file whose pixels are compressed in one of six ways."""
    dataset = make_dataset(pixels, **options)
    if kind in ("RLE", "JPEG-LS"):
        dataset.compress(RLELossless if kind == "RLE" else JPEGLSLossless, generate_instance_uid=False)
        return encode(dataset)
    if kind == "JPEG lossless":
        return compress_with_gdcm(encode(dataset))
    stream = io.BytesIO()
    if kind == "JPEG":
        Image.fromarray(pixels).save(stream, "JPEG", quality=98)
    else:
        Image.fromarray(pixels).save(stream, "JPEG2000", no_jp2=True)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if kind == "JPEG" else JPEG2000Lossless
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].VR = "OB"
    return encode(dataset)


def compress_with_gdcm(data: bytes) -> bytes:
    gdcm = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.dcm"), Path(folder, "after.dcm")
        before.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(before))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(after))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return after.read_bytes()


def make_table(entries: np.ndarray, *, first: int = 0, bits: int = 16) -> Dataset:
    """Return an item of a VOI or modality LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return item


def make_code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


# --- the same gray levels as a PNG ---------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_and_png_of_one_image_are_alike(photometric: str, bits: int, signed: bool) -> None:
    film = draw_film()
    shown = 255 - film if photometric == "MONOCHROME1" else film
    data = make_dicom(deepen(shown, bits, signed=signed), bits=bits, PhotometricInterpretation=photometric)
    loaded, expected = load_image(data), load_image(make_png(film))
    assert loaded.dtype == np.float32 and loaded.shape == expected.shape
    np.testing.assert_allclose(loaded, expected, atol=1 / 255)


@pytest.mark.parametrize("bits", [8, 12])
def test_resized_dicom_and_png_are_alike(bits: int) -> None:
    film = draw_film(size=(300, 250))
    loaded = load_image(make_dicom(deepen(film, bits), bits=bits), size=64)
    assert loaded.shape == (64, 64) and loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, load_image(make_png(film), size=64), atol=1 / 255)


def test_dim_eight_bits_stay_as_they_are() -> None:
    film = draw_film() // 4
    np.testing.assert_allclose(load_image(make_dicom(film)), film / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["RLE", "JPEG-LS", "JPEG lossless", "JPEG 2000"])
@pytest.mark.parametrize("bits", [8, 16])
def test_lossless_compression_changes_nothing(kind: str, bits: int) -> None:
    pixels = deepen(draw_film(), bits)
    np.testing.assert_array_equal(load_image(compress(pixels, kind)), load_image(make_dicom(pixels)))


@pytest.mark.parametrize("kind", ["RLE", "JPEG-LS", "JPEG lossless"])
def test_compressed_twelve_signed_bits(kind: str) -> None:
    pixels = deepen(draw_film(), 12, signed=True)
    loaded = load_image(compress(pixels, kind, bits=12))
    np.testing.assert_array_equal(loaded, load_image(make_dicom(pixels, bits=12)))


def test_lossy_jpeg_is_nearly_the_same() -> None:
    film = draw_film()
    assert np.abs(load_image(compress(film, "JPEG")) * 255 - film).mean() < 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 12])
def test_every_uncompressed_encoding(syntax: str, bits: int) -> None:
    pixels = deepen(draw_film(), bits)
    loaded = load_image(make_dicom(pixels, bits=bits, syntax=syntax))
    np.testing.assert_array_equal(loaded, load_image(make_dicom(pixels, bits=bits)))


def test_bits_beyond_those_stored_are_left_out() -> None:
    pixels = deepen(draw_film(), 12)
    overlaid = pixels | (np.random.default_rng(0).integers(0, 2, pixels.shape) << 15).astype(np.uint16)
    np.testing.assert_array_equal(load_image(make_dicom(overlaid, bits=12)), load_image(make_dicom(pixels, bits=12)))


def test_color_is_weighted_as_in_a_png() -> None:
    color = np.stack([draw_film(seed) for seed in range(3)], axis=-1)
    expected = load_image(make_png(color))
    np.testing.assert_allclose(load_image(make_dicom(color, SOPClassUID=SC, Modality="OT")), expected, atol=1 / 255)
    ybr = np.asarray(Image.fromarray(color).convert("YCbCr"))
    loaded = load_image(make_dicom(ybr, SOPClassUID=SC, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(loaded, expected, atol=2 / 255)


# --- the grayscale transformations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [1, 2.5])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_are_those_of_pydicom(function: str, slope: float, signed: bool) -> None:
    pixels = deepen(draw_film(), 12, signed=signed)
    window = {"WindowCenter": 700.5, "WindowWidth": 900, "VOILUTFunction": function}
    dataset = make_dataset(pixels, bits=12, RescaleSlope=slope, RescaleIntercept=-300, **window)
    shown = apply_windowing(pixels.astype(np.float64) * slope - 300, dataset)
    least, most = apply_windowing(np.array([-1e5, 1e5]), dataset)
    np.testing.assert_allclose(load_image(encode(dataset)), (shown - least) / (most - least), atol=1e-5)


def test_the_first_of_several_windows_is_taken() -> None:
    pixels = deepen(draw_film(), 12)
    several = make_dicom(pixels, bits=12, WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    one = make_dicom(pixels, bits=12, WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(load_image(several), load_image(one))


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 2000, "WindowWidth": -5},
        {"WindowCenter": 60000, "WindowWidth": 100},
        {"WindowCenter": 2000},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
    ids=["no width", "negative", "off the pixels", "center only", "empty"],
)
def test_a_window_of_no_use_is_passed_over(window: dict[str, object]) -> None:
    film = draw_film()
    loaded = load_image(make_dicom(deepen(film, 12), bits=12, **window))
    np.testing.assert_allclose(loaded, film / 255, atol=1 / 255)


@pytest.mark.parametrize(("bits", "top"), [(16, 65535), (16, 4095), (12, 4095), (8, 255)])
def test_a_voi_table_goes_before_a_window(bits: int, top: int) -> None:
    film = draw_film()
    curve = np.rint(np.linspace(0, 1, 4096) ** 2 * top).astype(np.int64)
    data = make_dicom(
        deepen(film, 12), bits=12, VOILUTSequence=[make_table(curve, bits=bits)], WindowCenter=9, WindowWidth=9
    )
    np.testing.assert_allclose(load_image(data), (film / 255) ** 2, atol=1 / 255)


def test_a_voi_table_may_begin_anywhere() -> None:
    film = draw_film()
    table = make_table(np.array([0, 65535]), first=2048)
    loaded = load_image(make_dicom(deepen(film, 12), bits=12, VOILUTSequence=[table]))
    np.testing.assert_array_equal(loaded, deepen(film, 12) > 2048)


def test_tables_as_words_of_either_byte_order() -> None:
    film, curve = draw_film(), np.rint(np.linspace(1, 0, 4096) * 4095).astype(np.uint16)
    for syntax, order in ((ExplicitVRLittleEndian, "<u2"), (ExplicitVRBigEndian, ">u2")):
        table = make_table(curve, bits=12)
        table.add_new("LUTData", "OW", curve.astype(order).tobytes())
        loaded = load_image(make_dicom(deepen(film, 12), bits=12, syntax=syntax, VOILUTSequence=[table]))
        np.testing.assert_allclose(loaded, 1 - film / 255, atol=1 / 255)


def test_a_modality_table_comes_first() -> None:
    film, curve = draw_film(), np.rint(np.sqrt(np.linspace(0, 1, 4096)) * 65535).astype(np.int64)
    table = make_table(curve)
    table.ModalityLUTType = "US"
    window = {"WindowCenter": 32768, "WindowWidth": 65536}
    for options in ({}, window):
        loaded = load_image(make_dicom(deepen(film, 12), bits=12, ModalityLUTSequence=[table], **options))
        np.testing.assert_allclose(loaded, np.sqrt(film / 255), atol=0.01)


def test_twelve_bits_declared_as_sixteen_are_stretched() -> None:
    film = draw_film()
    pixels = deepen(film, 12)
    pixels[0, :3] = 65535  # dead pixels must not decide the range
    loaded = load_image(make_dicom(pixels))
    np.testing.assert_allclose(loaded[1:], film[1:] / 255, atol=0.02)


def test_padding_is_black_and_counts_for_no_range() -> None:
    film = draw_film()
    for value, limit in ((-2000, None), (-2000, -1900)):
        pixels = deepen(film, 10).astype(np.int16)
        pixels[:, :30] = value if limit is None else np.arange(value, value + 30)
        more = {"PixelPaddingValue": value} | ({} if limit is None else {"PixelPaddingRangeLimit": limit})
        loaded = load_image(make_dicom(pixels, PhotometricInterpretation="MONOCHROME1", **more))
        assert (loaded[:, :30] == 0).all()
        np.testing.assert_allclose(loaded[:, 30:], 1 - film[:, 30:] / 255, atol=0.02)


def test_a_film_that_is_all_padding_is_shown() -> None:
    film = draw_film()
    loaded = load_image(make_dicom(film, PixelPaddingValue=0, PixelPaddingRangeLimit=255))
    np.testing.assert_allclose(loaded, film / 255, atol=1e-6)


def test_present_gray_leaves_its_input_alone() -> None:
    dataset = make_dataset(deepen(draw_film(), 12), bits=12, PixelPaddingValue=0)
    stored = dataset.pixel_array
    before = stored.copy()
    present_gray(stored, dataset)
    np.testing.assert_array_equal(stored, before)


# --- where the bytes come from -------------------------------------------------------------------------------------


def make_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(draw_film()).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "make", [lambda: make_dicom(draw_film()), lambda: make_png(draw_film()), make_jpeg], ids=["DICOM", "PNG", "JPEG"]
)
def test_paths_bytes_and_streams_give_the_same(tmp_path: Path, make: Callable[[], bytes]) -> None:
    data = make()
    path = tmp_path / "film.anything"
    path.write_bytes(data)
    expected = load_image(data)
    np.testing.assert_array_equal(load_image(path), expected)
    np.testing.assert_array_equal(load_image(str(path)), expected)
    with path.open("rb") as opened, tempfile.SpooledTemporaryFile(max_size=10) as spooled:
        spooled.write(data)
        for stream in (opened, io.BytesIO(data), spooled):
            for _ in range(2):
                np.testing.assert_array_equal(load_image(stream, size=None), expected)
                assert not stream.closed
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb") as sender:
        threading.Thread(target=lambda: (sender.write(data), sender.close())).start()
        np.testing.assert_array_equal(load_image(pipe), expected)


def test_a_text_stream_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("DICM")
    with (tmp_path / "a.dcm").open() as stream, pytest.raises(TypeError, match="binary"):
        load_image(stream)  # type: ignore[arg-type]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("meta", [True, False], ids=["meta", "bare"])
def test_a_file_that_lost_its_preamble(syntax: str, meta: bool) -> None:
    dataset = make_dataset(draw_film(), syntax=syntax)
    whole = encode(dataset)
    bare = io.BytesIO()
    if meta:
        bare.write(whole[132:])
    else:
        del dataset.file_meta
        dataset.save_as(
            bare, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=False
        )
    assert is_dicom(bare.getvalue())
    np.testing.assert_array_equal(load_image(bare.getvalue()), load_image(whole))


def test_what_is_no_dicom_is_not_taken_for_it() -> None:
    for data in (make_png(draw_film()), make_jpeg(), b"", b"\0" * 200, b"text, " * 60, b"\x08\x00" * 90):
        assert not is_dicom(data)
        assert describe_header(data) == []
    with pytest.raises(ImageError, match="no DICOM"):
        read_header(make_jpeg())


# --- what is refused -----------------------------------------------------------------------------------------------

REFUSED = {
    "several frames": ({"NumberOfFrames": 4}, "4 frames"),
    "no pixels": ({"PixelData": None}, "without pixel data"),
    "empty pixels": ({"PixelData": b""}, "without pixel data"),
    "structured report": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "Comprehensive SR"),
    "PDF": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "PDF"),
    "CT": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "CT Image Storage; expected a CR"),
    "private class": ({"SOPClassUID": "1.3.6.1.4.1.99.1"}, "unknown class"),
    "no image": ({"Rows": None}, "without an image"),
    "too small": ({"Rows": 9, "Columns": 9}, "9 x 9 pixels"),
    "too large": ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels"),
    "no rows": ({"Rows": 0}, "80 x 0|96 x 0"),
    "cut off": ({"PixelData": bytes(1000)}, "cut off: 1000 bytes"),
    "one bit": ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits stored in 1"),
    "thirty-two bits": ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 bits"),
    "absurd bits": ({"BitsAllocated": 60000}, "60000"),
    "more stored than kept": ({"BitsStored": 12, "HighBit": 11}, "12 bits stored in 8"),
    "high bit": ({"HighBit": 3}, "highest is bit 3"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    "four samples": ({"SamplesPerPixel": 4}, "4 samples"),
    "nameless kind": ({"PhotometricInterpretation": "DOE"}, "an unknown kind"),
    "flat": ({"PixelData": bytes(96 * 80)}, "same gray level"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_radiograph_is_refused(name: str) -> None:
    elements, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(make_dicom(draw_film(), **elements))
    assert "DOE" not in str(caught.value)


def test_deflated_files_are_refused_before_they_are_inflated() -> None:
    with pytest.raises(ImageError, match="Deflated"):
        load_image(make_dicom(draw_film(), syntax=DeflatedExplicitVRLittleEndian))


def test_an_unknown_encoding_is_refused() -> None:
    whole = make_dicom(draw_film())
    with pytest.raises(ImageError, match="unknown transfer syntax"):
        load_image(whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0", 1))


@pytest.mark.parametrize("kind", ["JPEG", "JPEG 2000", "JPEG-LS", "JPEG lossless"])
def test_compressed_pixels_of_another_size_are_refused_before_they_are_decoded(kind: str) -> None:
    dataset = dcmread(io.BytesIO(compress(draw_film(), kind)))
    dataset.Rows += 1
    with pytest.raises(ImageError, match="declared are 96 x 81 x 1"):
        load_image(encode(dataset))


def test_twelve_bit_lossy_jpeg_is_refused() -> None:
    dataset = dcmread(io.BytesIO(compress(draw_film(), "JPEG")))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    load_image(encode(dataset))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    with pytest.raises(ImageError, match="12-bit lossy JPEG"):
        load_image(encode(dataset))


def read_or_refuse(data: bytes) -> None:
    try:
        loaded = load_image(data)
    except ImageError as error:
        assert "DOE" not in str(error) and "\n" not in str(error)
    else:
        assert loaded.dtype == np.float32 and 0 <= loaded.min() < loaded.max() <= 1


@pytest.mark.parametrize("kind", ["native", "RLE", "JPEG", "JPEG 2000"])
def test_damage_is_told_and_nothing_else(kind: str) -> None:
    film = draw_film()
    data = make_dicom(film) if kind == "native" else compress(film, kind)
    rng = np.random.default_rng(5)
    for length in np.linspace(132, len(data) - 5, 40).astype(int):
        with pytest.raises(ImageError):
            load_image(data[:length])
    for number in range(150):
        flipped = bytearray(data)
        end = len(data) if number % 3 == 0 else 700  # most of the damage in the header
        for place in rng.integers(132, end, 1 + number % 9):
            flipped[place] = int(rng.integers(0, 256))
        read_or_refuse(bytes(flipped))


@pytest.mark.parametrize("kind", ["JPEG-LS", "JPEG lossless"])
def test_decoders_that_may_abort_do_so_elsewhere(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = compress(deepen(draw_film(), 16), kind)
    with pytest.raises(ImageError):
        load_image(data[: len(data) // 2])
    begin = data.rindex(b"\xff\xda") + 20
    rng = np.random.default_rng(1)
    for _ in range(2):
        flipped = bytearray(data)
        for place in rng.integers(begin, len(data) - 20, 30):
            flipped[place] = int(rng.integers(0, 255))
        read_or_refuse(bytes(flipped))
    assert capfd.readouterr() == ("", "")


# --- what the header tells -----------------------------------------------------------------------------------------

DOUBTS = {
    "left lateral": ({"ViewPosition": "LL"}, "left lateral view"),
    "right lateral": ({"ViewPosition": "RL"}, "right lateral view"),
    "decubitus": ({"ViewPosition": "RLD"}, "decubitus view"),
    "oblique": ({"ViewPosition": "LLO"}, "left oblique view"),
    "lateral in words": ({"ViewPosition": "CHEST LAT"}, "lateral or oblique view"),
    "lateral by code": ({"ViewCodeSequence": [make_code("399067008", "")]}, "lateral or oblique view"),
    "lateral by old code": ({"ViewCodeSequence": [make_code("R-10236", "", "SRT")]}, "lateral or oblique view"),
    "lateral by meaning": ({"ViewCodeSequence": [make_code("1", "Left lateral", "99X")]}, "lateral or oblique view"),
    "lateral by orientation": ({"PatientOrientation": ["P", "F"]}, "front to back"),
    "hand": ({"BodyPartExamined": "HAND"}, "says hand; expected the chest"),
    "thoracic spine": ({"BodyPartExamined": "TSPINE"}, "another part"),
    "named part": ({"BodyPartExamined": "DOE JANE"}, "another part"),
    "hand by code": ({"AnatomicRegionSequence": [make_code("85562004", "Hand")]}, "another part"),
    "CT": ({"Modality": "CT"}, "computed tomography"),
    "odd modality": ({"Modality": "DOE"}, "another modality"),
    "raw": ({"PresentationIntentType": "FOR PROCESSING"}, "raw values"),
}
FINE = {
    "bare": {},
    "PA": {"ViewPosition": "PA", "BodyPartExamined": "CHEST", "Modality": "DX", "SOPClassUID": DX},
    "AP": {"ViewPosition": "AP", "BodyPartExamined": "THORAX", "Modality": "DR"},
    "codes": {
        "ViewCodeSequence": [make_code("399348003", "antero-posterior")],
        "AnatomicRegionSequence": [make_code("816094009", "Chest")],
    },
    "old code": {"AnatomicRegionSequence": [make_code("T-D3000", "", "SRT")]},
    "secondary capture": {"Modality": "OT", "SOPClassUID": SC, "PatientOrientation": ["L", "F"]},
    "empty": {"ViewPosition": "", "BodyPartExamined": "", "PatientOrientation": "", "ViewCodeSequence": []},
    "presentation": {"PresentationIntentType": "FOR PRESENTATION", "Modality": "RG"},
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubts_of_the_header_are_told(name: str) -> None:
    elements, reason = DOUBTS[name]
    (found,) = describe_header(make_dicom(draw_film(), **elements))
    assert reason in found and found.endswith(".") and "DOE" not in found


@pytest.mark.parametrize("name", FINE)
def test_a_frontal_chest_film_raises_no_doubt(name: str) -> None:
    assert describe_header(make_dicom(draw_film(), **FINE[name])) == []


def test_every_doubt_is_listed() -> None:
    elements = {"ViewPosition": "LL", "BodyPartExamined": "KNEE", "Modality": "MR"}
    assert len(describe_header(make_dicom(draw_film(), **elements))) == 3


def test_a_damaged_header_is_an_error() -> None:
    with pytest.raises(ImageError):
        describe_header(make_dicom(draw_film()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0", 1))


# --- silence about patients, and lightness -------------------------------------------------------------------------


def make_odd_dicom() -> bytes:
    """Return a file that pydicom warns of, quoting its values."""
    data = make_dicom(draw_film(), PatientBirthDate="19700101", PixelData=draw_film().tobytes() + bytes(40))
    assert b"19700101" in data
    return data.replace(b"19700101", b"DOE BORN").replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00DA")


def test_nothing_is_warned_or_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        load_image(make_odd_dicom())
        describe_header(make_odd_dicom())
    assert "DOE" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")


def test_the_console_stays_quiet(tmp_path: Path) -> None:
    (tmp_path / "odd.dcm").write_bytes(make_odd_dicom())
    code = "import sys; from pneumoscope.data.image import load_image; load_image(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "odd.dcm"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_silence_ends_when_the_last_thread_leaves() -> None:
    logger = logging.getLogger("pydicom")
    before, level = list(warnings.filters), logger.level
    barrier = threading.Barrier(8)

    def read(seed: int) -> None:
        barrier.wait()
        for _ in range(5):
            load_image(make_dicom(draw_film(seed)))

    with quiet_pydicom():
        inside = logger.level
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside > logging.CRITICAL
    assert list(warnings.filters) == before and logger.level == level


@pytest.mark.parametrize("suffix", [".jpeg", ".dcm"])
def test_a_jpeg_is_read_without_pydicom(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    path.write_bytes(make_jpeg() if suffix == ".jpeg" else make_dicom(draw_film()))
    code = (
        "import sys; from pneumoscope.data.image import load_image; load_image(sys.argv[1]); "
        "print([name for name in ('pydicom', 'highdicom', 'gdcm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("pydicom" in done.stdout) == (suffix == ".dcm")
    assert "highdicom" not in done.stdout


# --- real files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def real_dicom(real_data: Path) -> Path:
    folder = real_data.parent / "dicom"
    if not folder.is_dir():
        pytest.skip("the real DICOM files are not at hand (a folder dicom beside PNEUMOSCOPE_DATA)")
    return folder


@pytest.mark.real_data
def test_real_files_are_read(real_dicom: Path) -> None:
    shapes = {path.name: load_image(path).shape for path in sorted(real_dicom.glob("*.dcm"))}
    assert sorted(shapes.values()) == [(1024, 1024), (1024, 1024), (1760, 1760), (1760, 1760), (1955, 1841)]
    doubted = {path.name for path in real_dicom.glob("*.dcm") if describe_header(path)}
    assert doubted == {"RG3_J2KI.dcm", "RG3_J2KR.dcm"}


@pytest.mark.real_data
def test_a_real_chest_has_dark_lungs_and_a_bright_spine(real_dicom: Path) -> None:
    names = ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "RG1_J2KI.dcm")
    for film in (load_image(real_dicom / name, size=100) for name in names):
        assert film[30:45, 25:35].mean() + 0.15 < film[50:60, 47:53].mean()


@pytest.mark.real_data
def test_the_same_pixels_tagged_monochrome1_are_the_negative(real_dicom: Path) -> None:
    film = load_image(real_dicom / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm")
    np.testing.assert_allclose(load_image(real_dicom / "Fake_MONOHR1.dcm"), 1 - film, atol=1e-6)
