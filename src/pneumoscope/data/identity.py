"""Whose image it is and what it shows, from its DICOM header."""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}


@dataclass(frozen=True)
class Identity:
    """Elements of a DICOM header; None if missing or the file is not DICOM. Do not log them.

    Attributes:
        sop_instance_uid, study_instance_uid, patient_id, accession_number: as in the header.
        age_years: PatientAge, or else the time from birth to the study.
        sex, view, laterality: PatientSex, ViewPosition, ImageLaterality or Laterality.
        study_date: as `YYYYMMDD`.
        modality, body_part: Modality and BodyPartExamined. They are not part of a table of readings.
    """

    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None
    age_years: float | None = None
    sex: str | None = None
    view: str | None = None
    laterality: str | None = None
    study_date: str | None = None
    modality: str | None = None
    body_part: str | None = None


def describe_identity(header: "Dataset") -> Identity:
    """Return the identity that a DICOM header states. Damaged elements are None."""
    return Identity(
        sop_instance_uid=_read(header, "SOPInstanceUID"),
        study_instance_uid=_read(header, "StudyInstanceUID"),
        patient_id=_read(header, "PatientID"),
        accession_number=_read(header, "AccessionNumber"),
        age_years=_read_age(header),
        sex=_read(header, "PatientSex"),
        view=_read(header, "ViewPosition"),
        laterality=_read(header, "ImageLaterality") or _read(header, "Laterality"),
        study_date=_read(header, "StudyDate"),
        modality=_read(header, "Modality"),
        body_part=_read(header, "BodyPartExamined"),
    )


def _read(header: "Dataset", keyword: str) -> str | None:
    try:
        value: Any = header.get(keyword)
        return str(value).strip() or None if value is not None else None
    except Exception:  # pydicom raises any type on damaged values, and its messages quote them
        return None


def _read_age(header: "Dataset") -> float | None:
    text = (_read(header, "PatientAge") or "").upper()
    if text[:-1].isdigit() and text[-1] in _DAYS:
        return round(int(text[:-1]) * _DAYS[text[-1]] / _DAYS["Y"], 2)
    if text.isdigit():
        return float(text)
    birth, study = _read(header, "PatientBirthDate") or "", _read(header, "StudyDate") or ""
    try:
        born, made = (date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in (birth, study))
    except ValueError:
        return None
    return round((made - born).days / _DAYS["Y"], 2) if made >= born else None
