"""A prediction as DICOM: secondary capture and structured report, in the study of the radiograph.

Of patient and study only the required elements are copied (types 1 and 2 of PS3.3 C.7.1.1 and C.7.2.1); the path of
the file is not written.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from pneumoscope import __version__
from pneumoscope.data.dicom import is_dicom, quiet_pydicom, read_header
from pneumoscope.data.source import ImageSource, open_source
from pneumoscope.errors import ImageError
from pneumoscope.io.write import atomic_write
from pneumoscope.pacs.structured_report import DECISIONS, write_document
from pneumoscope.report.reading_image import draw_reading

if TYPE_CHECKING:
    from pydicom import Dataset

PICTURE_SERIES = "Pneumoscope heat-map, research use only"
DOCUMENT_SERIES = "Pneumoscope report, research use only"
DEIDENTIFICATION = "Pneumoscope: elements after PS3.15 E.1; pixels not cleaned"
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
_DATES_OF_MAKING = (
    *("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
    *("SeriesDate", "SeriesTime", "TimezoneOffsetFromUTC"),
)
# New in each process, so that a pseudonym cannot be found by hashing known identifiers.
_SALT = secrets.token_bytes(32)


def make_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    picture: np.ndarray,
    *,
    deidentify: bool = False,
) -> list["Dataset"]:
    """Return the secondary capture and the structured report of a reading, without writing any file.

    Both are new series in the study of a DICOM source. Those of another source get a new study, without a date, of a
    patient named ANONYMOUS. `deidentify` follows the basic profile of PS3.15 E.1: a pseudonym replaces name and number
    of the patient, UIDs are new, and dates, sex, accession number, study ID and physician are empty. Pseudonyms and
    UIDs are the same for all readings of one process, and cannot be traced back.

    Args:
        source: path, bytes or binary stream of the radiograph; only its header is read.
        reading: `decision` (normal, pneumonia, uncertain or rejected), `operating_point`, `p_normal`, `p_bacterial`,
            `p_viral`, `p_pneumonia` (floats in [0, 1], or None where rejected), `anomaly_score`, `anomaly_percentile`,
            `in_distribution`, `reason`, `model`; `subtype_trust` and `heatmap_trust`, see `Reader.trust`.
        heatmap: `(H, W)` floats in [0, 1], or None.
        picture: `(H, W)` floats in [0, 1], 0 = black.
        deidentify: whether to remove what identifies the patient.

    Returns:
        Secondary capture (RGB) and structured report (Comprehensive SR, TID 1500), for
        `save_as(path_or_buffer, enforce_file_format=True)`.

    Raises:
        ImageError: if a DICOM source is damaged, or is to be deidentified but says that its pixels name the patient.
        ValueError: if the reading holds an error, or the arrays differ in shape.
    """
    _check_arguments(reading, heatmap, picture)
    with quiet_pydicom():
        origin = _describe_origin(source, deidentify)
        radiograph = origin if "SOPInstanceUID" in origin else None
        capture = _make_capture(draw_reading(reading, heatmap, picture), origin, radiograph)
        if reading["decision"] == "rejected":
            capture.Laterality = ""  # of whatever body part was shown (PS3.3 C.7.3.1)
        else:
            capture.BodyPartExamined = "CHEST"
        document = write_document(reading, capture, radiograph, DOCUMENT_SERIES)
        for dataset in (capture, document):
            _finish(dataset, origin, deidentify)
    return [capture, document]


def write_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    picture: np.ndarray,
    out_dir: str | os.PathLike[str],
    *,
    deidentify: bool = False,
) -> list[Path]:
    """Write what `make_dicom_reading` returns into a folder.

    Returns:
        Paths `heatmap_UID.dcm` and `report_UID.dcm`; the name of the source may identify the patient and is not used.
    """
    datasets = make_dicom_reading(source, reading, heatmap, picture, deidentify=deidentify)
    paths = []
    for kind, dataset in zip(("heatmap", "report"), datasets, strict=True):
        paths.append(Path(out_dir) / f"{kind}_{dataset.SOPInstanceUID}.dcm")
        with quiet_pydicom(), atomic_write(paths[-1]) as partial:
            dataset.save_as(partial, enforce_file_format=True)
    return paths


def _check_arguments(reading: Mapping[str, Any], heatmap: np.ndarray | None, picture: np.ndarray) -> None:
    if reading.get("error") or reading.get("decision") not in DECISIONS:
        raise ValueError(f"the reading's decision is {reading.get('decision')!r}; expected {', '.join(DECISIONS)}")
    if picture.ndim != 2 or (heatmap is not None and heatmap.shape != picture.shape):
        shapes = f"{picture.shape} and {None if heatmap is None else heatmap.shape}"
        raise ValueError(f"picture and heatmap are {shapes}; expected two of the same (H, W)")


def _describe_origin(source: ImageSource, deidentify: bool) -> "Dataset":
    """Return what is copied from the source: patient, study, references, orientation and lossy compression."""
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
        raise ImageError("the header says that the pixels name the patient; such an image cannot be deidentified")
    uids = {keyword: _read_uid(header, keyword) for keyword in _REFERENCES}
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
    """Return an element as text; empty where it is missing or invalid (PS3.5 section 6.2)."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    try:
        element = header.get(keyword) or ""
        value = "" if isinstance(element, MultiValue) else str(element).strip()
        validate_value(dictionary_VR(keyword), value, RAISE)
    except Exception:  # invalid in any way; its text must not be quoted
        return ""
    return value


def _read_uid(header: "Dataset", keyword: str) -> str:
    from pydicom.uid import UID

    value = _read_text(header, keyword)
    return value if value and UID(value).is_valid else ""


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
            setattr(origin, keyword, UID.from_uuid(str(UUID(_digest(str(origin[keyword].value))[:32]))))


def _pseudonym(text: str) -> str:
    return f"PNEUMO-{_digest(text)[:12].upper()}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=_SALT, digest_size=16).hexdigest()


def _make_capture(pixels: np.ndarray, origin: "Dataset", radiograph: "Dataset | None") -> "Dataset":
    from highdicom import UID
    from highdicom.sc import SCImage

    capture = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=origin.StudyInstanceUID,
        series_instance_uid=UID(),
        series_number=901,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="Pneumoscope",
        manufacturer_model_name="Pneumoscope",
        software_versions=__version__,
        series_description=PICTURE_SERIES,
    )
    # Empty where it is unknown (PS3.3 C.7.6.1), though highdicom requires one.
    capture.PatientOrientation = origin.get("PatientOrientation")
    capture.DerivationDescription = "Heat-map of a neural network laid over the radiograph, and its answer below"
    capture.LossyImageCompression = origin.LossyImageCompression
    if "BurnedInAnnotation" in origin:
        capture.BurnedInAnnotation = origin.BurnedInAnnotation
    if radiograph is not None:
        capture.SourceImageSequence = [_refer_to(radiograph)]
    # highdicom rejects names without a caret, which PS3.5 6.2.1.1 allows.
    for keyword in (*_PATIENT, *_STUDY):
        capture[keyword] = origin[keyword]
    return capture


def _refer_to(radiograph: "Dataset") -> "Dataset":
    """Return the item that refers to the radiograph as the source image (General Reference, PS3.3 C.12.4)."""
    from highdicom.sr import CodedConcept
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = radiograph.SOPClassUID, radiograph.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)]
    item.SpatialLocationsPreserved = "NO"
    return item


def _finish(dataset: "Dataset", origin: "Dataset", deidentify: bool) -> None:
    """Set what both files share, after highdicom has set the rest."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    # The last item is highdicom itself; the one before calls the source of the capture that of the radiograph.
    dataset.ContributingEquipmentSequence = dataset.ContributingEquipmentSequence[-1:]
    for keyword in (*_PATIENT, *_STUDY):
        dataset[keyword] = origin[keyword]
    if not deidentify:
        return
    for keyword in _DATES_OF_MAKING:
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
