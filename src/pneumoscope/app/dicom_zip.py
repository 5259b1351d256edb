"""One reading as DICOM, to be taken along: the picture and the report in a zip that is made in memory."""

import io
import zipfile
from typing import TYPE_CHECKING

from pneumoscope.app.uploads import Upload
from pneumoscope.radiographs.dicom import quiet_pydicom
from pneumoscope.reading.decode import decode_radiograph
from pneumoscope.reading.illustration import illustrate

if TYPE_CHECKING:
    from pydicom import Dataset

    from pneumoscope.reading.reader import Reader

NAMES = ("heatmap.dcm", "report.dcm")


def zip_dicom_reading(reader: "Reader", upload: Upload, *, operating_point: str, deidentify: bool) -> bytes:
    """Read a file, and return its secondary capture and its structured report as one zip.

    Args:
        reader: trained models.
        upload: the file.
        operating_point: see `Reader.threshold`.
        deidentify: whether to take out what tells the patient.

    Raises:
        ImageError: if the file cannot be read, or cannot be deidentified.
    """
    from pneumoscope.report.dicom import make_dicom_reading

    image, objections = decode_radiograph(upload.content, size=reader.models.image_size)
    (reading,) = reader.read(image[None], [upload.name], operating_point=operating_point, objections=[objections])
    picture, heatmap = illustrate(reader, upload.content, image, reading)
    told = {**reading.to_row(), **reader.trust}
    made = make_dicom_reading(upload.content, told, heatmap, picture, deidentify=deidentify)
    return _zip(made)


def _zip(made: "list[Dataset]") -> bytes:
    archive = io.BytesIO()
    with quiet_pydicom(), zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name, dataset in zip(NAMES, made, strict=True):
            stream = io.BytesIO()
            dataset.save_as(stream, enforce_file_format=True)
            written.writestr(name, stream.getvalue())
    return archive.getvalue()
