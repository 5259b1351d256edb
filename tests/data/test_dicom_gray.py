"""Gray levels of DICOM files: equal to a PNG of the same image, in every encoding and transformation."""

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.pixels import apply_windowing
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.data.image import load_gray

GRAY_LEVEL = 1 / 255
SECONDARY_CAPTURE = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}


def make_table(entries, *, first=0, bits=16):
    """Return an item of a VOI or modality LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return item


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_equals_png(image, photometric, bits, signed, make_dicom, make_png):
    shown = 255 - image if photometric == "MONOCHROME1" else image
    data = make_dicom(shown, bits=bits, signed=signed, PhotometricInterpretation=photometric)
    loaded, expected = load_gray(data), load_gray(make_png(image))
    assert loaded.dtype == np.float32 and loaded.shape == expected.shape
    np.testing.assert_allclose(loaded, expected, atol=GRAY_LEVEL)
    resized = load_gray(data, size=64)
    assert resized.dtype == np.float32 and resized.shape == (64, 64)
    np.testing.assert_allclose(resized, load_gray(make_png(image), size=64), atol=GRAY_LEVEL)


def test_dark_8_bit_image_is_not_stretched(image, make_dicom):
    np.testing.assert_allclose(load_gray(make_dicom(image // 4)), (image // 4) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "bits", "signed"),
    [
        *[(kind, bits, False) for kind in ("RLE", "JPEG-LS", "JPEG lossless", "JPEG 2000") for bits in (8, 16)],
        *[(kind, 12, True) for kind in ("RLE", "JPEG-LS", "JPEG lossless")],
    ],
)
def test_lossless_compression_changes_nothing(kind, bits, signed, image, compress, make_dicom):
    options = {"bits": bits, "signed": signed}
    np.testing.assert_array_equal(load_gray(compress(image, kind, **options)), load_gray(make_dicom(image, **options)))


def test_lossy_jpeg_changes_little(image, compress):
    assert np.abs(load_gray(compress(image, "JPEG")) * 255 - image).mean() < 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 12])
def test_uncompressed_encodings_are_equal(syntax, bits, image, make_dicom):
    loaded = load_gray(make_dicom(image, bits=bits, syntax=syntax))
    np.testing.assert_array_equal(loaded, load_gray(make_dicom(image, bits=bits)))


def test_bits_beyond_those_stored_are_ignored(image, make_dataset, encode):
    dataset = make_dataset(image, bits=12)
    expected = load_gray(encode(dataset))
    pixels = np.frombuffer(dataset.PixelData, "<u2")
    overlay = np.random.default_rng(0).integers(0, 2, pixels.shape).astype(np.uint16) << 15
    dataset.PixelData = (pixels | overlay).tobytes()
    np.testing.assert_array_equal(load_gray(encode(dataset)), expected)


def test_color_is_weighted_as_in_a_png(color_image, make_dicom, make_png):
    expected = load_gray(make_png(color_image))
    np.testing.assert_allclose(load_gray(make_dicom(color_image, **SECONDARY_CAPTURE)), expected, atol=GRAY_LEVEL)
    ybr = np.asarray(Image.fromarray(color_image).convert("YCbCr"))
    loaded = load_gray(make_dicom(ybr, **SECONDARY_CAPTURE, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(loaded, expected, atol=2 * GRAY_LEVEL)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [1, 2.5])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_equal_those_of_pydicom(function, slope, signed, image, make_dataset, encode):
    window = {
        "WindowCenter": (0 if signed else 2047.5) * slope - 300,
        "WindowWidth": 3500 * slope,
        "VOILUTFunction": function,
    }
    dataset = make_dataset(image, bits=12, signed=signed, RescaleSlope=slope, RescaleIntercept=-300, **window)
    shown = apply_windowing(dataset.pixel_array.astype(np.float64) * slope - 300, dataset)
    low, high = apply_windowing(np.array([-1e5, 1e5]), dataset)
    np.testing.assert_allclose(load_gray(encode(dataset)), (shown - low) / (high - low), atol=1e-5)


def test_first_of_several_windows_is_applied(image, make_dicom):
    several = make_dicom(image, bits=12, WindowCenter=[2000, 3000], WindowWidth=[3500, 100])
    one = make_dicom(image, bits=12, WindowCenter=2000, WindowWidth=3500)
    np.testing.assert_array_equal(load_gray(several), load_gray(one))


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
def test_useless_window_is_ignored(window, image, make_dicom):
    np.testing.assert_allclose(load_gray(make_dicom(image, bits=12, **window)), image / 255, atol=GRAY_LEVEL)


@pytest.mark.parametrize(("bits", "top"), [(16, 65535), (16, 4095), (12, 4095), (8, 255)])
def test_voi_table_goes_before_window(bits, top, image, make_dicom):
    curve = np.rint(np.linspace(0, 1, 4096) ** 2 * top).astype(np.int64)
    data = make_dicom(image, bits=12, VOILUTSequence=[make_table(curve, bits=bits)], WindowCenter=9, WindowWidth=9)
    np.testing.assert_allclose(load_gray(data), (image / 255) ** 2, atol=GRAY_LEVEL)


def test_voi_table_may_begin_anywhere(image, make_dataset, encode):
    dataset = make_dataset(
        image, bits=12, VOILUTSequence=[make_table(np.linspace(0, 65535, 3500).astype(int), first=300)]
    )
    expected = np.clip((dataset.pixel_array - 300.0) / 3499, 0, 1)
    np.testing.assert_allclose(load_gray(encode(dataset)), expected, atol=1e-4)


@pytest.mark.parametrize(("syntax", "order"), [(ExplicitVRLittleEndian, "<u2"), (ExplicitVRBigEndian, ">u2")])
def test_tables_are_read_in_either_byte_order(syntax, order, image, make_dicom):
    curve = np.rint(np.linspace(1, 0, 4096) * 4095).astype(np.uint16)
    table = make_table(curve, bits=12)
    table.add_new("LUTData", "OW", curve.astype(order).tobytes())
    loaded = load_gray(make_dicom(image, bits=12, syntax=syntax, VOILUTSequence=[table]))
    np.testing.assert_allclose(loaded, 1 - image / 255, atol=GRAY_LEVEL)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 32768, "WindowWidth": 65536}])
def test_modality_table_is_applied_first(window, image, make_dicom):
    table = make_table(np.rint(np.sqrt(np.linspace(0, 1, 4096)) * 65535).astype(np.int64))
    table.ModalityLUTType = "US"
    loaded = load_gray(make_dicom(image, bits=12, ModalityLUTSequence=[table], **window))
    np.testing.assert_allclose(loaded, np.sqrt(image / 255), atol=0.01)


def test_12_bits_declared_as_16_are_stretched(image, make_dicom):
    pixels = np.rint(image * (4095 / 255)).astype(np.uint16)
    pixels[0, :3] = 65535  # dead pixels must not decide the range
    np.testing.assert_allclose(load_gray(make_dicom(pixels))[1:], image[1:] / 255, atol=0.02)


@pytest.mark.parametrize("limit", [{}, {"PixelPaddingRangeLimit": -1900}])
def test_padding_is_black_and_outside_of_the_range(limit, image, make_dicom):
    pixels = np.rint(image * (1023 / 255)).astype(np.int16)
    pixels[:, :30] = np.arange(-2000, -1970) if limit else -2000
    loaded = load_gray(make_dicom(pixels, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=-2000, **limit))
    assert (loaded[:, :30] == 0).all()
    np.testing.assert_allclose(loaded[:, 30:], 1 - image[:, 30:] / 255, atol=0.02)


def test_padding_of_the_whole_image_is_ignored(image, make_dicom):
    loaded = load_gray(make_dicom(image, PixelPaddingValue=0, PixelPaddingRangeLimit=255))
    np.testing.assert_allclose(loaded, image / 255, atol=1e-6)


@pytest.fixture
def real_dicom(real_data):
    folder = real_data.parent / "dicom"
    if not folder.is_dir():
        pytest.skip("the real DICOM files are not at hand (a folder dicom beside PNEUMOSCOPE_DATA)")
    return folder


@pytest.mark.real_data
def test_real_files_are_loaded(real_dicom):
    shapes = [load_gray(path).shape for path in sorted(real_dicom.glob("*.dcm"))]
    assert sorted(shapes) == [(1024, 1024), (1024, 1024), (1760, 1760), (1760, 1760), (1955, 1841)]
    described = {path.name for path in real_dicom.glob("*.dcm") if decode_radiograph(path).remarks.objections}
    assert described == {"RG3_J2KI.dcm", "RG3_J2KR.dcm"}


@pytest.mark.real_data
def test_real_chests_have_dark_lungs_and_a_bright_spine(real_dicom):
    plain = real_dicom / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
    for chest in (load_gray(path, size=100) for path in (plain, real_dicom / "RG1_J2KI.dcm")):
        assert chest[30:45, 25:35].mean() + 0.15 < chest[50:60, 47:53].mean()
    np.testing.assert_allclose(load_gray(real_dicom / "Fake_MONOHR1.dcm"), 1 - load_gray(plain), atol=1e-6)
