"""DICOM files that are damaged or no radiograph are rejected with a reason that never quotes the header."""

import io

import numpy as np
import pytest
from pydicom import dcmread

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.data.image import load_gray
from pneumoscope.errors import ImageError

REJECTED = {
    "several frames": ({"NumberOfFrames": 4}, "4 frames"),
    "no pixels": ({"PixelData": None}, "without pixel data"),
    "structured report": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "Comprehensive SR"),
    "PDF": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "PDF"),
    "private class": ({"SOPClassUID": "1.3.6.1.4.1.99.1"}, "SOP class is unknown"),
    "no image": ({"Rows": None}, "without an image"),
    "too small": ({"Rows": 9, "Columns": 9}, "9 x 9 pixels"),
    "too large": ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels"),
    "no rows": ({"Rows": 0}, "80 x 0|96 x 0"),
    "cut off": ({"PixelData": bytes(1000)}, "truncated DICOM file: 1000 bytes"),
    "one bit": ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "bits stored are 1, bits allocated 1;"),
    "absurd bits": ({"BitsAllocated": 60000}, "60000"),
    "more stored than kept": ({"BitsStored": 12, "HighBit": 11}, "bits stored are 12, bits allocated 8;"),
    "high bit": ({"HighBit": 3}, "high bit is 3"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    "four samples": ({"SamplesPerPixel": 4}, "4 samples"),
    "unknown interpretation": ({"PhotometricInterpretation": "DOE"}, "interpretation is unknown"),
    "flat": ({"PixelData": bytes(96 * 80)}, "same gray level"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_unsuitable_file_is_rejected(name, image, make_dicom):
    options, reason = REJECTED[name]
    with pytest.raises(ImageError, match=reason) as caught:
        load_gray(make_dicom(image, **options))
    assert "DOE" not in str(caught.value)


def test_unknown_encoding_is_rejected(image, make_dicom):
    data = make_dicom(image).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0", 1)
    for read in (load_gray, decode_radiograph):
        with pytest.raises(ImageError, match="transfer syntax is unknown"):
            read(data)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG 2000", "JPEG-LS", "JPEG lossless"])
def test_compressed_pixels_of_another_size_are_rejected_before_decoding(kind, image, compress, encode):
    dataset = dcmread(io.BytesIO(compress(image, kind)))
    dataset.Rows += 1
    with pytest.raises(ImageError, match="header declares 96 x 81 x 1"):
        load_gray(encode(dataset))


def test_12_bit_lossy_jpeg_is_rejected(image, compress, encode):
    dataset = dcmread(io.BytesIO(compress(image, "JPEG")))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    load_gray(encode(dataset))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    with pytest.raises(ImageError, match="12-bit lossy JPEG"):
        load_gray(encode(dataset))


def check_damaged(data):
    """Load a damaged file: it gives an image or an `ImageError`, nothing else."""
    try:
        loaded = load_gray(data)
    except ImageError as error:
        assert "DOE" not in str(error) and "\n" not in str(error)
    else:
        assert loaded.dtype == np.float32 and 0 <= loaded.min() < loaded.max() <= 1


def overwrite(data, places, rng):
    damaged = bytearray(data)
    for place in places:
        damaged[place] = int(rng.integers(0, 256))
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["native", "RLE", "JPEG", "JPEG 2000"])
def test_damage_raises_an_image_error_at_most(kind, image, compress, make_dicom):
    data = make_dicom(image) if kind == "native" else compress(image, kind)
    for length in np.linspace(132, len(data) - 5, 40).astype(int):
        with pytest.raises(ImageError):
            load_gray(data[:length])
    rng = np.random.default_rng(5)
    for number in range(150):
        end = len(data) if number % 3 == 0 else 700  # most of the damage in the header
        check_damaged(overwrite(data, rng.integers(132, end, 1 + number % 9), rng))


@pytest.mark.parametrize("kind", ["JPEG-LS", "JPEG lossless"])
def test_decoders_that_may_abort_run_in_another_process(kind, image, compress, capfd):
    data = compress(image, kind, bits=16)
    with pytest.raises(ImageError):
        load_gray(data[: len(data) // 2])
    begin = data.rindex(b"\xff\xda") + 20
    rng = np.random.default_rng(1)
    for _ in range(2):
        check_damaged(overwrite(data, rng.integers(begin, len(data) - 20, 30), rng))
    assert capfd.readouterr() == ("", "")
