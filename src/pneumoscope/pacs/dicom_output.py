"""A reading as DICOM: a picture of the heat-map and a structured report, in the study of the film that was read.

Neither names its origin by more than the standard requires: the patient and study modules are cut down to their
required elements (types 1 and 2 of PS3.3 C.7.1.1 and C.7.2.1), and the path of the file is not written.
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
from pneumoscope.pacs.structured_report import DECISIONS, write_document
from pneumoscope.report.reading_picture import draw_reading

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
# New in each process, so that who knows an identifier cannot tell its pseudonym by trying.
_SALT = secrets.token_bytes(32)


def make_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    picture: np.ndarray,
    *,
    deidentify: bool = False,
) -> list["Dataset"]:
    """Make the picture and the report of a reading, without writing any file.

    Both go into the study of a DICOM source, as new series. A source that is no DICOM file names no patient and
    no study: they get a new study, without a date, of a patient named ANONYMOUS.

    Where `deidentify` is set, what the basic profile of PS3.15 E.1 removes is removed or replaced: name and number
    of the patient by a pseudonym, dates, sex, accession number, study ID and physician by nothing, UIDs by
    new ones. Pseudonyms and UIDs are alike for all readings of one process, and cannot be traced back.

    Args:
        source: the file that was read: path, bytes or binary stream. Only its header is looked at.
        reading: flat values by the keys `decision` (normal, pneumonia, not sure or refused), `operating_point`,
            `p_normal`, `p_bacterial`, `p_viral`, `p_pneumonia` (floats in [0, 1], or None where refused),
            `anomaly_score`, `anomaly_percentile`, `in_domain`, `reason` and `model`; and `subtype_trust` and
            `heatmap_trust`, see `Reader.trust`. Others are not written.
        heatmap: `(H, W)` floats in [0, 1] that is laid over the picture; None where there is none.
        picture: `(H, W)` floats in [0, 1], 0 = black; shown with the aspect ratio it has.
        deidentify: whether to take out what tells the patient.

    Returns:
        The secondary capture (RGB) and the structured report (Comprehensive SR, TID 1500), which can be
        written with `save_as(path_or_buffer, enforce_file_format=True)`.

    Raises:
        ImageError: if a DICOM source is damaged, or is to be deidentified but says that its pixels name the patient.
        ValueError: if the reading is of a file that could not be read, or the arrays differ in shape.
    """
    _check_arguments(reading, heatmap, picture)
    with quiet_pydicom():
        origin = _describe_origin(source, deidentify)
        film = origin if "SOPInstanceUID" in origin else None
        capture = _make_capture(draw_reading(reading, heatmap, picture), origin, film)
        if reading["decision"] == "refused":
            capture.Laterality = ""  # of whatever body part was shown (PS3.3 C.7.3.1)
        else:
            capture.BodyPartExamined = "CHEST"
        document = write_document(reading, capture, film, DOCUMENT_SERIES)
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
    """Write what `make_dicom_reading` makes into a folder.

    The files are named by kind and by their own new UID, never after the source, whose name may tell the patient.

    Returns:
        Paths of the picture, `heatmap_UID.dcm`, and of the report, `report_UID.dcm`.
    """
    made = make_dicom_reading(source, reading, heatmap, picture, deidentify=deidentify)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = [
        out_dir / f"{kind}_{one.SOPInstanceUID}.dcm" for kind, one in zip(("heatmap", "report"), made, strict=True)
    ]
    with quiet_pydicom():
        for path, dataset in zip(paths, made, strict=True):
            dataset.save_as(path, enforce_file_format=True)
    return paths


def _check_arguments(reading: Mapping[str, Any], heatmap: np.ndarray | None, picture: np.ndarray) -> None:
    if reading.get("error") or reading.get("decision") not in DECISIONS:
        raise ValueError(f"the reading's decision is {reading.get('decision')!r}; expected {', '.join(DECISIONS)}")
    if picture.ndim != 2 or (heatmap is not None and heatmap.shape != picture.shape):
        shapes = f"{picture.shape} and {None if heatmap is None else heatmap.shape}"
        raise ValueError(f"picture and heat-map are {shapes}; expected two of the same (H, W)")


def _describe_origin(source: ImageSource, deidentify: bool) -> "Dataset":
    """Return what the new files may know of their source: patient, study, references, and what was lost before."""
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
        raise ImageError("the header says that the pixels name the patient; such a film cannot be deidentified")
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
    """Return an element as text, empty where it is missing or breaks the rules of its kind (PS3.5 section 6.2)."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    try:
        found = header.get(keyword) or ""
        value = "" if isinstance(found, MultiValue) else str(found).strip()
        validate_value(dictionary_VR(keyword), value, RAISE)
    except Exception:  # whatever is wrong with it, its text must not be quoted
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


def _make_capture(pixels: np.ndarray, origin: "Dataset", film: "Dataset | None") -> "Dataset":
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
    # Empty where it is not known (PS3.3 C.7.6.1), though highdicom asks for one.
    capture.PatientOrientation = origin.get("PatientOrientation")
    capture.DerivationDescription = "Heat-map of a neural network laid over the radiograph, and its answer below"
    capture.LossyImageCompression = origin.LossyImageCompression
    if "BurnedInAnnotation" in origin:
        capture.BurnedInAnnotation = origin.BurnedInAnnotation
    if film is not None:
        capture.SourceImageSequence = [_refer_to(film)]
    # highdicom takes them one by one and refuses names without a caret, which PS3.5 6.2.1.1 allows.
    for keyword in (*_PATIENT, *_STUDY):
        capture[keyword] = origin[keyword]
    return capture


def _refer_to(film: "Dataset") -> "Dataset":
    """Return the item that names the film as what the picture was made from (General Reference, PS3.3 C.12.4)."""
    from highdicom.sr import CodedConcept
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = film.SOPClassUID, film.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)]
    item.SpatialLocationsPreserved = "NO"
    return item


def _finish(dataset: "Dataset", origin: "Dataset", deidentify: bool) -> None:
    """Set what both files share, after highdicom has set all the rest."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    # The last is highdicom itself; what it puts before names the maker of the heat-map as that of the film.
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
