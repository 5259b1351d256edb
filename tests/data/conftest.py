"""DICOM files of every kind that a viewer meets, made with pydicom."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

CR = "1.2.840.10008.5.1.4.1.1.1"


def draw_image(seed=0, size=(96, 80)):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.fixture
def image():
    """Return `(80, 96)` uint8 that spans all gray levels."""
    return draw_image()


@pytest.fixture
def color_image():
    """Return `(80, 96, 3)` uint8."""
    return np.stack([draw_image(seed) for seed in range(3)], axis=-1)


def to_bits(image, bits, *, signed=False):
    levels = np.rint(image.astype(np.float64) * (2**bits - 1) / 255).astype(np.int64) - signed * 2 ** (bits - 1)
    return levels.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def build_dataset(pixels, *, bits=0, signed=False, syntax=ExplicitVRLittleEndian, **elements):
    if pixels.dtype == np.uint8 and bits and pixels.ndim == 2:
        pixels = to_bits(pixels, bits, signed=signed)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "DOE^JANE", "4711", "CR"
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


def encode_dataset(dataset):
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CR)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", generate_uid())
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def make_dataset():
    """Return a function that makes a computed radiograph: 8-bit pixels are scaled to `bits`, elements are set last."""
    return build_dataset


@pytest.fixture
def encode():
    """Return a function that encodes a dataset as a file."""
    return encode_dataset


@pytest.fixture
def make_dicom():
    """Return a function as `make_dataset` that returns the bytes of the file."""
    return lambda pixels, **options: encode_dataset(build_dataset(pixels, **options))


@pytest.fixture
def make_png():
    """Return a function that encodes pixels as a PNG or another format of Pillow."""

    def make(pixels, kind="PNG", **options):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        return stream.getvalue()

    return make


@pytest.fixture
def compress(make_png, tmp_path):
    """Return a function that makes a DICOM file whose pixels are compressed in one of five ways."""

    def make(pixels, kind, **options):
        dataset = build_dataset(pixels, **options)
        if kind in ("RLE", "JPEG-LS"):
            dataset.compress(RLELossless if kind == "RLE" else JPEGLSLossless, generate_instance_uid=False)
            return encode_dataset(dataset)
        if kind == "JPEG lossless":
            return compress_with_gdcm(encode_dataset(dataset), tmp_path)
        stored = to_bits(pixels, options["bits"]) if options.get("bits") else pixels
        if kind == "JPEG":
            data, dataset.file_meta.TransferSyntaxUID = make_png(stored, "JPEG", quality=98), JPEGBaseline8Bit
        else:
            data, dataset.file_meta.TransferSyntaxUID = make_png(stored, "JPEG2000", no_jp2=True), JPEG2000Lossless
        dataset.PixelData = encapsulate([data])
        dataset["PixelData"].VR = "OB"
        return encode_dataset(dataset)

    return make


def compress_with_gdcm(data, folder):
    gdcm = pytest.importorskip("gdcm")
    path = folder / "gdcm.dcm"
    path.write_bytes(data)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path.read_bytes()
