"""A prediction as DICOM: a secondary capture and a structured report in the study of the radiograph.

`radiograph_elements.py` says what both objects take from the radiograph. The file path is not written. UIDs derive from
the radiograph, the model and the operating point: a second run makes the same objects.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import __version__
from pneumoscope.data.dicom import MANUFACTURER, quiet_pydicom
from pneumoscope.data.source import ImageSource
from pneumoscope.inference.reading import REJECTED
from pneumoscope.io.write import atomic_write
from pneumoscope.pacs.radiograph_elements import PATIENT_AND_STUDY, Origin, describe_origin
from pneumoscope.pacs.structured_report import make_report
from pneumoscope.report.reading_image import draw_reading

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES = {901: "Pneumoscope heatmap, research use only", 902: "Pneumoscope report, research use only"}
DEIDENTIFICATION = "Pneumoscope: elements per PS3.15 E.1; pixels not cleaned"
DUMMY_DATE, DUMMY_TIME = "19000101", "000000"

_CREATION_DATES = (
    *("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
    *("SeriesDate", "SeriesTime", "TimezoneOffsetFromUTC"),
)


def make_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    image: np.ndarray,
    *,
    deidentify: bool = False,
) -> tuple[list["Dataset"], list[str]]:
    """Make the secondary capture and the structured report of a reading, without writing any file.

    For a DICOM source, both become new series in its study. For any other source, they form a new study without a date,
    and the patient is named ANONYMOUS. The same source, model and operating point give the same UIDs.

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
        objects: secondary capture (RGB, JPEG-LS lossless) and structured report (Comprehensive SR, TID 1500), for
            `save_as(path_or_buffer, enforce_file_format=True)` within `quiet_pydicom`.
        changes: one text for each element of the radiograph that is left empty, replaced, or kept though invalid, such
            as "PatientSex left empty: not a defined term". No text quotes a value.

    Raises:
        ImageError: if a DICOM source is damaged; with `deidentify`, also if its header states that the pixels contain
            identifying text.
        ValueError: if the reading holds an error, or the arrays differ in shape.
    """
    _check_arguments(reading, heatmap, image)
    with quiet_pydicom():
        origin = describe_origin(source, deidentify=deidentify)
        capture = _make_capture(draw_reading(reading, heatmap, image), origin, _describe_series(901, origin, reading))
        if reading["decision"] == REJECTED:
            capture.Laterality = ""  # the body part is unknown (PS3.3 C.7.3.1)
        else:
            capture.BodyPartExamined = "CHEST"
        # The evidence of a report names the series and study, too (PS3.3 C.17.2.1).
        radiograph = origin.reference if len(origin.reference) == 4 else None
        report = make_report(reading, capture, radiograph, _describe_series(902, origin, reading))
        for dataset in (capture, report):
            _finish(dataset, origin)
    return [capture, report], origin.changes


def write_dicom_reading(
    source: ImageSource,
    reading: Mapping[str, Any],
    heatmap: np.ndarray | None,
    image: np.ndarray,
    out_dir: str | os.PathLike[str],
    *,
    deidentify: bool = False,
) -> tuple[list[Path], list[str]]:
    """Write the secondary capture and the structured report of `make_dicom_reading` to a folder.

    Only the user can read the files, and a new folder.

    Returns:
        paths: `heatmap_UID.dcm` and `report_UID.dcm`. The source's file name may identify the patient and is not used.
        changes: see `make_dicom_reading`.
    """
    datasets, changes = make_dicom_reading(source, reading, heatmap, image, deidentify=deidentify)
    paths = []
    for prefix, dataset in zip(("heatmap", "report"), datasets, strict=True):
        paths.append(Path(out_dir) / f"{prefix}_{dataset.SOPInstanceUID}.dcm")
        with quiet_pydicom(), atomic_write(paths[-1], private=True) as partial:
            dataset.save_as(partial, enforce_file_format=True)
    return paths, changes


def derive_instance_uids(sop_instance_uid: str, model: str, operating_point: str) -> list[str]:
    """Return the SOP instance UIDs of the secondary capture and the report of a radiograph, see `make_dicom_reading`.

    Args:
        sop_instance_uid: of the radiograph.
        model, operating_point: as in the reading.
    """
    from pydicom import Dataset

    origin = Origin(Dataset(), Dataset(), burned_in=False, key=sop_instance_uid, deidentify=False)
    return [str(origin.derive_uid(_name_object(model, operating_point, number, "instance"))) for number in SERIES]


def _name_object(model: str, operating_point: str, number: int, level: str) -> str:
    return f"{model}/{operating_point}/{number}/{level}"


def _check_arguments(reading: Mapping[str, Any], heatmap: np.ndarray | None, image: np.ndarray) -> None:
    if reading.get("error") or not reading.get("decision"):
        raise ValueError(f"the reading's decision is {reading.get('decision')!r}; expected a reading without an error")
    if image.ndim != 2 or (heatmap is not None and heatmap.shape != image.shape):
        shapes = f"{image.shape} and {None if heatmap is None else heatmap.shape}"
        raise ValueError(f"image and heatmap have the shapes {shapes}; expected the same shape (H, W)")


def _describe_series(number: int, origin: Origin, reading: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of highdicom's constructors for the only instance of a new series from this package."""
    series, instance = (
        origin.derive_uid(_name_object(reading["model"], reading["operating_point"], number, level))
        for level in ("series", "instance")
    )
    return {
        "series_instance_uid": series,
        "series_number": number,
        "series_description": SERIES[number],
        "sop_instance_uid": instance,
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": __version__,
    }


def _make_capture(pixels: np.ndarray, origin: Origin, series: Mapping[str, Any]) -> "Dataset":
    from highdicom.sc import SCImage
    from pydicom.uid import JPEGLSLossless

    capture = SCImage(
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=origin.elements.StudyInstanceUID,
        transfer_syntax_uid=JPEGLSLossless,
        **series,
    )
    # highdicom requires an orientation, but an unknown one must be empty (PS3.3 C.7.6.1).
    capture.PatientOrientation = origin.elements.get("PatientOrientation")
    capture.DerivationDescription = "Radiograph with the heatmap and the predictions of a neural network"
    capture.LossyImageCompression = origin.elements.LossyImageCompression
    # The drawn text does not identify the patient, but the pixels of the radiograph may (PS3.3 C.7.6.1).
    capture.BurnedInAnnotation = "YES" if origin.burned_in else "NO"
    if "SOPClassUID" in origin.reference and "SOPInstanceUID" in origin.reference:
        capture.SourceImageSequence = [_refer_to(origin.reference)]
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


def _finish(dataset: "Dataset", origin: Origin) -> None:
    """Set the elements that both objects share, after highdicom has set the others."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    # Keep the last item, which describes highdicom. The others name the equipment of the capture as the radiograph's.
    dataset.ContributingEquipmentSequence = dataset.ContributingEquipmentSequence[-1:]
    # Set here, because highdicom rejects names without a caret, which PS3.5 6.2.1.1 allows, and other values.
    for keyword in PATIENT_AND_STUDY:
        dataset[keyword] = origin.elements[keyword]
    if not origin.deidentify:
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
