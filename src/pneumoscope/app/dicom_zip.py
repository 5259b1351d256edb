"""One reading as DICOM: the heat-map and the report in a zip that is made in memory."""

import io
import zipfile
from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile

from pneumoscope.data.dicom import quiet_pydicom
from pneumoscope.inference.decode import decode_radiograph
from pneumoscope.inference.illustration import illustrate

if TYPE_CHECKING:
    from pydicom import Dataset

    from pneumoscope.inference.reader import Reader

NAMES = ("heatmap.dcm", "report.dcm")


def zip_dicom_reading(reader: "Reader", upload: UploadFile, *, operating_point: str, deidentify: bool) -> bytes:
    """Classify a file, and return its secondary capture and its structured report as one zip.

    Args:
        reader: trained models.
        upload: the file.
        operating_point: see `Reader.threshold`.
        deidentify: whether to remove what identifies the patient.

    Raises:
        ImageError: if the file cannot be read, or cannot be deidentified.
    """
    from pneumoscope.pacs.dicom_output import make_dicom_reading

    content = upload.file.read()
    image, objections = decode_radiograph(content, size=reader.models.image_size)
    (reading,) = reader.read(
        image[None], [upload.filename or ""], operating_point=operating_point, objections=[objections]
    )
    picture, heatmap = illustrate(reader, content, image, reading)
    row = {**reading.to_row(), **reader.trust}
    return _zip(make_dicom_reading(content, row, heatmap, picture, deidentify=deidentify))


def _zip(datasets: "list[Dataset]") -> bytes:
    archive = io.BytesIO()
    with quiet_pydicom(), zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for name, dataset in zip(NAMES, datasets, strict=True):
            stream = io.BytesIO()
            dataset.save_as(stream, enforce_file_format=True)
            zip_file.writestr(name, stream.getvalue())
    return archive.getvalue()
