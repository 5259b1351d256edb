"""A prediction as DICOM: a secondary capture and a structured report in the study of the radiograph.

Only the required patient and study elements are copied (types 1 and 2 of PS3.3 C.7.1.1 and C.7.2.1). The file path is
not written.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from pneumoscope.data.dicom import is_dicom, quiet_pydicom, read_header
from pneumoscope.data.source import ImageSource, open_source
from pneumoscope.errors import ImageError
from pneumoscope.inference.reading import REJECTED
from pneumoscope.io.write import atomic_write
from pneumoscope.pacs.structured_report import describe_series, make_report
from pneumoscope.report.reading_image import draw_reading

if TYPE_CHECKING:
    from pydicom import Dataset

CAPTURE_SERIES = "Pneumoscope heatmap, research use only"
REPORT_SERIES = "Pneumoscope report, research use only"
DEIDENTIFICATION = "Pneumoscope: elements per PS3.15 E.1; pixels not cleaned"
DUMMY_DATE, DUMMY_TIME = "19000101", "000000"

_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
_REFERENCES = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}
_CREATION_DATES = (
    *("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
    *("SeriesDate", "SeriesTime", "TimezoneOffsetFromUTC"),
)
# Random in each process: nobody can reproduce a pseudonym by hashing a patient's identifiers.
_SALT = secrets.token_bytes(32)


def make_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    image: np.ndarray,
    *,
    deidentify: bool = False,
) -> list["Dataset"]:
    """Return the secondary capture and the structured report of a reading, without writing any file.

    For a DICOM source, both become new series in its study. For any other source, they form a new study without a date,
    and the patient is named ANONYMOUS.

    `deidentify` follows the Basic Application Level Confidentiality Profile (PS3.15 E.1). A pseudonym replaces the
    patient's name and ID. UIDs are replaced. Dates, sex, accession number, study ID and referring physician are empty.
    Within one process, the same patient gets the same pseudonym and the same study the same UIDs. Neither can be
    reversed.

    Args:
        source: path, bytes or binary stream of the radiograph; only its header is read.
        reading: the reading as `Reader.describe` returns it.
        heatmap: `(H, W)` floats in [0, 1], or None.
        image: `(H, W)` floats in [0, 1], the radiograph, 0 = black.
        deidentify: whether to remove what identifies the patient.

    Returns:
        Secondary capture (RGB) and structured report (Comprehensive SR, TID 1500), for
        `save_as(path_or_buffer, enforce_file_format=True)`.

    Raises:
        ImageError: if a DICOM source is damaged; with `deidentify`, also if its header states that the pixels contain
            identifying text.
        ValueError: if the reading holds an error, or the arrays differ in shape.
    """
    _check_arguments(reading, heatmap, image)
    with quiet_pydicom():
        origin = _describe_origin(source, deidentify)
        radiograph = origin if "SOPInstanceUID" in origin else None
        capture = _make_capture(draw_reading(reading, heatmap, image), origin, radiograph)
        if reading["decision"] == REJECTED:
            capture.Laterality = ""  # the body part is unknown (PS3.3 C.7.3.1)
        else:
            capture.BodyPartExamined = "CHEST"
        _finish(capture, origin, deidentify)
        report = make_report(reading, capture, radiograph, REPORT_SERIES)
        _finish(report, origin, deidentify)
    return [capture, report]


def write_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    image: np.ndarray,
    out_dir: str | os.PathLike[str],
    *,
    deidentify: bool = False,
) -> list[Path]:
    """Write the secondary capture and the structured report of `make_dicom_reading` to a folder.

    Returns:
        Paths `heatmap_UID.dcm` and `report_UID.dcm`. The source's file name may identify the patient and is not used.
    """
    datasets = make_dicom_reading(source, reading, heatmap, image, deidentify=deidentify)
    paths = []
    for prefix, dataset in zip(("heatmap", "report"), datasets, strict=True):
        paths.append(Path(out_dir) / f"{prefix}_{dataset.SOPInstanceUID}.dcm")
        with quiet_pydicom(), atomic_write(paths[-1]) as partial:
            dataset.save_as(partial, enforce_file_format=True)
    return paths


def _check_arguments(reading: Mapping[str, Any], heatmap: np.ndarray | None, image: np.ndarray) -> None:
    if reading.get("error") or not reading.get("decision"):
        raise ValueError(f"the reading's decision is {reading.get('decision')!r}; expected a reading without an error")
    if image.ndim != 2 or (heatmap is not None and heatmap.shape != image.shape):
        shapes = f"{image.shape} and {None if heatmap is None else heatmap.shape}"
        raise ValueError(f"image and heatmap have the shapes {shapes}; expected the same shape (H, W)")


def _describe_origin(source: ImageSource, deidentify: bool) -> "Dataset":
    """Return the elements that the source provides: patient, study, UIDs, orientation and lossy compression."""
    from highdicom import UID
    from pydicom import Dataset

    origin = Dataset()
    header = read_header(source) if is_dicom(source) else None
    for keyword in (*_PATIENT, *_STUDY):
        setattr(origin, keyword, "" if header is None else _read_text(header, keyword))
    if header is None:
        origin.StudyInstanceUID = UID()
        origin.PatientName = "ANONYMOUS^"
        origin.PatientID = _pseudonym(origin.StudyInstanceUID)
        origin.LossyImageCompression = "01" if _is_jpeg(source) else "00"
        return origin
    if deidentify and _read_text(header, "BurnedInAnnotation") == "YES":
        raise ImageError(
            "BurnedInAnnotation is YES: the pixels contain identifying text; such an image cannot be deidentified"
        )
    uids = {keyword: _read_text(header, keyword) for keyword in _REFERENCES}
    origin.StudyInstanceUID = uids["StudyInstanceUID"] or UID()
    if all(uids.values()):
        for keyword, uid in uids.items():
            setattr(origin, keyword, uid)
    if deidentify:
        _replace_identifiers(origin)
    orientation: Any = header.get("PatientOrientation")
    if orientation and not isinstance(orientation, str) and len(orientation) == 2:
        origin.PatientOrientation = [str(axis) for axis in orientation]
    if _read_text(header, "BurnedInAnnotation") in ("YES", "NO"):
        origin.BurnedInAnnotation = _read_text(header, "BurnedInAnnotation")
    method = _LOSSY_SYNTAXES.get(str(header.file_meta.TransferSyntaxUID))
    origin.LossyImageCompression = "01" if method or _read_text(header, "LossyImageCompression") == "01" else "00"
    return origin


def _read_text(header: "Dataset", keyword: str) -> str:
    """Return an element as text; empty if it is missing or invalid (PS3.5 section 6.2)."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    try:
        element = header.get(keyword) or ""
        value = "" if isinstance(element, MultiValue) else str(element).strip()
        validate_value(dictionary_VR(keyword), value, RAISE)
    except Exception:  # any invalid value; an error message must not quote it
        return ""
    return value


def _is_jpeg(source: ImageSource) -> bool:
    with open_source(source) as stream:
        return stream.read(2) == b"\xff\xd8"


def _replace_identifiers(origin: "Dataset") -> None:
    from highdicom import UID

    patient = _pseudonym(f"{origin.PatientID}/{origin.PatientName}")
    for keyword in (*_PATIENT, *_STUDY):
        setattr(origin, keyword, "")
    origin.PatientName, origin.PatientID = f"{patient}^", patient
    for keyword in _REFERENCES[1:]:
        if keyword in origin:
            setattr(origin, keyword, UID.from_uuid(str(UUID(_digest(str(origin[keyword].value))))))


def _pseudonym(text: str) -> str:
    return f"PNEUMO-{_digest(text)[:12].upper()}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=_SALT, digest_size=16).hexdigest()


def _make_capture(pixels: np.ndarray, origin: "Dataset", radiograph: "Dataset | None") -> "Dataset":
    from highdicom.sc import SCImage

    capture = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=origin.StudyInstanceUID,
        **describe_series(901, CAPTURE_SERIES),
    )
    # highdicom requires an orientation, but an unknown one must be empty (PS3.3 C.7.6.1).
    capture.PatientOrientation = origin.get("PatientOrientation")
    capture.DerivationDescription = "Radiograph with the heatmap and the predictions of a neural network"
    capture.LossyImageCompression = origin.LossyImageCompression
    if "BurnedInAnnotation" in origin:
        capture.BurnedInAnnotation = origin.BurnedInAnnotation
    if radiograph is not None:
        capture.SourceImageSequence = [_refer_to(radiograph)]
    return capture


def _refer_to(radiograph: "Dataset") -> "Dataset":
    """Return a sequence item that references the radiograph as source image (General Reference, PS3.3 C.12.4)."""
    from highdicom.sr import CodedConcept
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = radiograph.SOPClassUID, radiograph.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)]
    item.SpatialLocationsPreserved = "NO"
    return item


def _finish(dataset: "Dataset", origin: "Dataset", deidentify: bool) -> None:
    """Set the elements that both objects share, after highdicom has set the others."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    # Keep the last item, which describes highdicom. The others name the equipment of the capture as the radiograph's.
    dataset.ContributingEquipmentSequence = dataset.ContributingEquipmentSequence[-1:]
    # Set here, because PS3.5 6.2.1.1 allows names without a caret, but highdicom rejects them.
    for keyword in (*_PATIENT, *_STUDY):
        dataset[keyword] = origin[keyword]
    if not deidentify:
        return
    for keyword in _CREATION_DATES:
        if keyword in dataset:
            del dataset[keyword]
    if "ContentDate" in dataset:
        dataset.ContentDate, dataset.ContentTime = DUMMY_DATE, DUMMY_TIME
    for item in dataset.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = DEIDENTIFICATION
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
