"""Elements that the DICOM objects of a reading take from the radiograph.

Only the required patient and study elements are copied (types 1 and 2 of PS3.3 C.7.1.1 and C.7.2.1). Names and
identifiers stay as they are in the radiograph, even if they are invalid: an archive that accepted the radiograph then
files the objects under the same patient, order and study. An invalid date, time or sex is left empty, as is text that
its character set does not cover.
"""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from pneumoscope.data.dicom import is_dicom, read_header
from pneumoscope.data.source import ImageSource, open_source
from pneumoscope.errors import ImageError

if TYPE_CHECKING:
    from highdicom import UID
    from pydicom import DataElement, Dataset

PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_REFERENCES = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_DIRECTION = re.compile(r"[APLRHF]{1,3}")
_LOSSY_SYNTAXES = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91)}
# Random in each process: nobody can reproduce a pseudonym by hashing a patient's identifiers.
_SALT = secrets.token_bytes(32)


@dataclass(frozen=True)
class Origin:
    """What both DICOM objects of a reading take from the radiograph.

    Attributes:
        elements: the elements `PATIENT_AND_STUDY`, the study UID, PatientOrientation and LossyImageCompression.
        reference: SOP class UID and UIDs of the radiograph, without the missing or unusable ones.
        burned_in: whether the header states that the pixels contain identifying text.
        key: SOP instance UID of the radiograph, or the SHA-256 of the file where there is none.
        deidentify: whether identifiers are replaced.
        changes: one text per element that is left empty, replaced, or kept though invalid. No text quotes a value.
    """

    elements: "Dataset"
    reference: "Dataset"
    burned_in: bool
    key: str
    deidentify: bool
    changes: list[str] = field(default_factory=list)

    def derive_uid(self, name: str) -> "UID":
        """Return the UID that belongs to the radiograph and a name: always the same, or per process if deidentified."""
        from highdicom import UID

        return UID.from_uuid(str(self._derive(name)))

    def derive_pseudonym(self) -> str:
        """Return a patient ID for a file without a patient."""
        return f"PNEUMO-{self._derive('patient').hex[:12].upper()}"

    def _derive(self, name: str) -> UUID:
        text = f"pneumoscope/{self.key}/{name}"
        return UUID(_digest(text)) if self.deidentify else uuid5(NAMESPACE_URL, text)


def describe_origin(source: ImageSource, *, deidentify: bool) -> Origin:
    """Return what the DICOM objects take from the radiograph.

    Args:
        source: path, bytes or binary stream of the radiograph; only its header is read.
        deidentify: whether to replace the identifiers of patient, study and radiograph.

    Raises:
        ImageError: if a DICOM source is damaged; with `deidentify`, also if its header states that the pixels contain
            identifying text.
    """
    from pydicom import Dataset

    has_header = is_dicom(source)
    header = read_header(source) if has_header else Dataset()
    burned_in = (_read_text(header, "BurnedInAnnotation") or "").strip().upper() == "YES"
    if deidentify and burned_in:
        raise ImageError(
            "BurnedInAnnotation is YES: the pixels contain identifying text; such an image cannot be deidentified"
        )
    reference = Dataset()
    for keyword in _REFERENCES:
        if uid := _read_uid(header, keyword):
            setattr(reference, keyword, uid)
    key = reference.get("SOPInstanceUID") or _hash(source)
    origin = Origin(Dataset(), reference, burned_in, key, deidentify)
    origin.elements.StudyInstanceUID = reference.get("StudyInstanceUID") or origin.derive_uid("study")
    identity = _copy_patient_and_study(origin, header)
    if not has_header:
        origin.elements.PatientName, origin.elements.PatientID = "ANONYMOUS^", origin.derive_pseudonym()
        origin.elements.LossyImageCompression = "01" if _is_jpeg(source) else "00"
        return origin
    if deidentify:
        _replace_identifiers(origin)
    else:
        origin.changes.extend(identity)
    for keyword in _REFERENCES:
        if keyword not in reference:
            result = "replaced" if keyword == "StudyInstanceUID" else "not referenced"
            origin.changes.append(f"{keyword} {result}: missing or unusable")
    _copy_image_elements(origin, header)
    return origin


def _copy_patient_and_study(origin: Origin, header: "Dataset") -> list[str]:
    """Copy the elements, and return what is changed or invalid."""
    changes = []
    for keyword in PATIENT_AND_STUDY:
        element, change = _copy_element(header, keyword)
        origin.elements.add(element)
        changes += [f"{keyword} {change}"] if change else []
    return changes + [
        f"{keyword} kept as in the radiograph: not a valid UID (PS3.5 9.1)"
        for keyword in _REFERENCES
        if keyword in origin.reference and not _is_valid("UI", origin.reference[keyword].value)
    ]


def _copy_image_elements(origin: Origin, header: "Dataset") -> None:
    orientation = (_read_text(header, "PatientOrientation") or "").split("\\")
    if len(orientation) == 2 and all(map(_DIRECTION.fullmatch, orientation)):
        origin.elements.PatientOrientation = orientation
    elif orientation != [""]:
        origin.changes.append("PatientOrientation left empty: not two directions")
    syntax, stated = header.file_meta.TransferSyntaxUID, _read_text(header, "LossyImageCompression")
    origin.elements.LossyImageCompression = "01" if syntax in _LOSSY_SYNTAXES or stated == "01" else "00"


def _is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{8}", text, re.ASCII) and date.fromisoformat(text))
    except ValueError:
        return False


_CHECKS: dict[str, tuple[Callable[[str], object], str]] = {
    "CS": (re.compile("[MFO]").fullmatch, "defined term"),  # Patient's Sex
    "DA": (_is_date, "date"),
    "TM": (re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII).fullmatch, "time"),
}


def _copy_element(header: "Dataset", keyword: str) -> tuple["DataElement", str]:
    """Return an element for the objects, and what is changed or invalid; an empty text if nothing is."""
    from pydicom import DataElement
    from pydicom.config import IGNORE
    from pydicom.datadict import dictionary_VR

    vr, text = dictionary_VR(keyword), _read_text(header, keyword)
    empty = DataElement(keyword, vr, "")
    if text is None:
        return empty, "left empty: not readable in its character set"
    if not text.strip():
        return empty, ""
    if vr in _CHECKS:
        is_valid, expected = _CHECKS[vr]
        text = text.strip()
        return (DataElement(keyword, vr, text), "") if is_valid(text) else (empty, f"left empty: not a {expected}")
    element = DataElement(keyword, vr, text, validation_mode=IGNORE)
    if not _is_preserved(element):
        return empty, "left empty: cannot be written without a change"
    return element, "" if _is_valid(vr, text) else f"kept as in the radiograph: not a valid {vr} (PS3.5 6.2)"


def _read_text(header: "Dataset", keyword: str) -> str | None:
    """Return the values of an element, joined by backslashes; None if they are not text or cannot be decoded."""
    from pydicom.multival import MultiValue
    from pydicom.valuerep import PersonName

    try:
        value: Any = header.get(keyword)
        values = value if isinstance(value, MultiValue) else [] if value is None else [value]
        if not all(isinstance(one, str | PersonName | int | float) for one in values):
            return None
        text = "\\".join(map(str, values))
        return None if _is_misread(text, header) else text
    except Exception:  # parsers raise any type on damaged values
        return None


def _is_misread(text: str, header: "Dataset") -> bool:
    """Return whether decoded text holds replaced bytes, C1 controls, or more than ASCII without a known character set.

    The parser decodes text without a known character set as Latin-1, which accepts every byte.
    """
    from pydicom.charset import convert_encodings, default_encoding

    if text.isascii():
        return False
    is_declared = {*convert_encodings(header.get("SpecificCharacterSet"))} != {default_encoding}
    return not is_declared or re.search("[\x80-\x9f\N{REPLACEMENT CHARACTER}]", text) is not None


def _read_uid(header: "Dataset", keyword: str) -> str:
    """Return a UID, even an invalid one that archives may have accepted; empty if it is missing or unusable."""
    from pydicom import DataElement
    from pydicom.config import IGNORE

    uid = (_read_text(header, keyword) or "").strip()
    element = DataElement(keyword, "UI", uid, validation_mode=IGNORE)
    return uid if re.fullmatch(r"[!-\[\]-~]+", uid) and _is_preserved(element) else ""


def _is_preserved(element: "DataElement") -> bool:
    """Return whether an element is the same after it was written and read."""
    from pydicom import Dataset, dcmread

    dataset, stream = Dataset(), BytesIO()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.add(element)
    try:
        dataset.save_as(stream, implicit_vr=False, little_endian=True)
        return str(dcmread(stream, force=True)[element.tag].value) == str(element.value)
    except Exception:  # writers and parsers raise any type on such values
        return False


def _is_valid(vr: str, text: str) -> bool:
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    if "\\" in text or any(unicodedata.category(sign) == "Cc" for sign in text):
        return False
    if vr == "PN" and any(group.count("^") > 4 for group in text.split("=")):
        return False
    try:
        validate_value(vr, text, RAISE)
    except ValueError:
        return False
    return True


def _replace_identifiers(origin: Origin) -> None:
    from highdicom import UID

    elements = origin.elements
    name = f"{elements.PatientID}/{elements.PatientName}"
    pseudonym = f"PNEUMO-{_digest(name if name != '/' else elements.StudyInstanceUID)[:12].upper()}"
    for keyword in PATIENT_AND_STUDY:
        setattr(elements, keyword, "")
    elements.PatientName, elements.PatientID = f"{pseudonym}^", pseudonym
    for dataset in (elements, origin.reference):
        for keyword in _REFERENCES[1:]:
            if keyword in dataset:
                setattr(dataset, keyword, UID.from_uuid(str(UUID(_digest(str(dataset[keyword].value))))))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=_SALT, digest_size=16).hexdigest()


def _hash(source: ImageSource) -> str:
    with open_source(source) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _is_jpeg(source: ImageSource) -> bool:
    with open_source(source) as stream:
        return stream.read(2) == b"\xff\xd8"
