"""Uploaded files to predictions, as JSON or as DICOM."""

import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image
from starlette.datastructures import UploadFile

from pneumoscope.app.answers import add_maps, describe_reading
from pneumoscope.app.dicom_view import describe_dicom
from pneumoscope.app.images import MAX_SIDE, convert_for_browser, locate_content
from pneumoscope.app.schema import ReadingAnswer
from pneumoscope.data.decode import DecodedImage, decode_radiograph
from pneumoscope.data.dicom import is_dicom, quiet_pydicom, read_header
from pneumoscope.data.image import FORMATS, load_gray
from pneumoscope.errors import ImageError
from pneumoscope.inference.illustration import illustrate
from pneumoscope.inference.reading import REJECTED
from pneumoscope.progress import log

if TYPE_CHECKING:
    from pneumoscope.inference.reader import Reader

DICOM_NAMES = ("heatmap.dcm", "report.dcm")
LARGE_PIXELS = 8_000_000
_ONE_LARGE = threading.Lock()


def read_uploads(
    reader: "Reader", uploads: list[UploadFile], *, operating_point: str, full: bool, seconds: float
) -> list[ReadingAnswer]:
    """Return a prediction for each file; for a file that cannot be decoded, its error.

    Args:
        reader: trained models.
        uploads: files, processed in order.
        operating_point: see `Reader.threshold`.
        full: whether to add heatmaps, the anomaly map and the position on the map of reference cases.
        seconds: time for all files. Files that remain after it get an error.

    Raises:
        PneumoscopeError: if the operating point is unknown.
    """
    thresholds = reader.thresholds(operating_point)
    deadline = time.monotonic() + seconds
    answers = []
    for upload in uploads:
        name = upload.filename or ""
        try:
            if time.monotonic() > deadline:
                raise ImageError(f"the request took over {seconds:g} s; send fewer files")
            with _take(upload) as content:
                image = _decode(reader, content)
                if full:
                    reading, maps = reader.predict_with_maps(image, name, operating_point=operating_point)
                else:
                    (reading,) = reader.predict_decoded([image], [name], operating_point)
                answer = describe_reading(reading, reader.label_set, thresholds)
                if full:
                    _add_image(answer, content)
            if full and reading.decision == REJECTED:
                del answer["content"]
            elif full:
                add_maps(answer, reading, maps, reader)
        except ImageError as error:
            reading = reader.refuse(name, operating_point, str(error))
            answer = describe_reading(reading, reader.label_set, thresholds)
        answers.append(answer)
    return answers


def zip_dicom_reading(reader: "Reader", upload: UploadFile, *, operating_point: str, deidentify: bool) -> bytes:
    """Return a zip with the secondary capture and the structured report of one file.

    Args:
        reader: trained models.
        upload: file to classify.
        operating_point: see `Reader.threshold`.
        deidentify: whether to remove the identity of the patient.

    Raises:
        ImageError: if the file cannot be read or de-identified.
    """
    from pneumoscope.pacs.dicom_output import make_dicom_reading

    with _take(upload) as content:
        image = _decode(reader, content)
        (reading,) = reader.predict_decoded([image], [upload.filename or ""], operating_point)
        pixels, heatmap = illustrate(reader, content, image.pixels, reading)
        fields = reader.describe(reading)
        datasets, changes = make_dicom_reading(content, fields, heatmap, pixels, deidentify=deidentify)
    if changes:
        log.warning("missing or invalid elements of a DICOM header: %d (%s)", len(changes), "; ".join(changes))
    archive = io.BytesIO()
    with quiet_pydicom(), zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for name, dataset in zip(DICOM_NAMES, datasets, strict=True):
            stream = io.BytesIO()
            dataset.save_as(stream, enforce_file_format=True)
            zip_file.writestr(name, stream.getvalue())
    return archive.getvalue()


@contextmanager
def _take(upload: UploadFile) -> Iterator[bytes]:
    """Yield the content of an upload, one large image at a time, because each takes up to half a gigabyte."""
    with _ONE_LARGE if _count_pixels(upload.file) > LARGE_PIXELS else nullcontext():
        upload.file.seek(0)
        content = upload.file.read()
        upload.file.close()  # its copy of the content is not needed any more
        yield content


def _count_pixels(file: BinaryIO) -> int:
    """Return the declared number of pixels; 0 if it is unknown, as of a file that will not be decoded."""
    with suppress(Exception):  # decoding says what is wrong
        if is_dicom(file):
            header = read_header(file)
            return int(header.Rows * header.Columns)
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    return 0


def _add_image(answer: ReadingAnswer, content: bytes) -> None:
    gray = load_gray(content)
    answer["content"] = locate_content(gray)
    answer["image"] = convert_for_browser(content, gray)
    answer["size"] = [gray.shape[1], gray.shape[0]]
    answer["dicom"] = describe_dicom(content, gray, MAX_SIDE) if is_dicom(content) else None


def _decode(reader: "Reader", content: bytes) -> DecodedImage:
    return decode_radiograph(content, size=reader.models.image_size)
