"""Elements that the DICOM objects take from the radiograph: invalid headers, and UIDs that a second run repeats."""

import io
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumoscope.data.dicom import load_dicom, quiet_pydicom
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.data.remarks import Remarks
from pneumoscope.errors import ImageError
from pneumoscope.pacs import radiograph_elements
from pneumoscope.pacs.dicom_output import make_dicom_reading, write_dicom_reading

READING: dict[str, Any] = {
    "error": None,
    "decision": "normal",
    "operating_point": "balanced",
    "p_normal": 0.9,
    "p_pneumonia": 0.1,
    "in_distribution": True,
    "reason": None,
    "model": "pneumoscope-1.0-3f2a9c41",
    "label_set": KERMANY_LABELS,
    "thresholds": {"pneumonia": 0.6},
    "explained": "pneumonia",
}
IMAGE = np.full((32, 32), 0.5, np.float32)
PATIENT_AND_STUDY_VALUES = ("Roe^Jo", "M-1", "19990203", "M", "20250607", "080910", "Who^John", "S-1", "A-1")
HEADER = {
    "SOPClassUID": ComputedRadiographyImageStorage,
    "SOPInstanceUID": "1.2.3.1",
    "SeriesInstanceUID": "1.2.3.2",
    "StudyInstanceUID": "1.2.3.3",
    **dict(zip(radiograph_elements.PATIENT_AND_STUDY, PATIENT_AND_STUDY_VALUES, strict=True)),
}
LEFT_EMPTY = [
    *(("PatientSex", value) for value in ("U", "X", "f", "Male", "MF", "M\\F", "\x07")),
    *(("PatientBirthDate", value) for value in ("20240230", "2024-02-03", "00000000", "20240101-20240201", "2024")),
    *(("StudyDate", value) for value in ("May 2024", "20241301", "20240506\\20240507")),
    *(("StudyTime", value) for value in ("25", "07:08:09", "noon", "070809-080910", "0708091")),
    ("PatientID", "P" * 70_000),
]
REASONS = [*(f"not a {term}" for term in ("defined term", "date", "time")), "cannot be written without a change"]
KEPT = [
    *(("PatientID", value) for value in ("P" * 65, "P" * 200, "AB\\CD", "A\tB\rC", "A\\\\B", "J\x00rg", "🫁" * 70)),
    *(("PatientName", value) for value in ("X" * 200 + "^Y", "a^b^c^d^e^f^g", "a=b=c=d=e", "a\\b", "=" * 5 + "^" * 9)),
    *(("AccessionNumber", value) for value in ("A" * 20, "A\\B", "A" * 200)),
    ("StudyID", "S" * 20),
    ("ReferringPhysicianName", "R" * 100),
]
VALID = [
    *(("PatientID", value) for value in ("ID-1   ", " ID-1", "Größe-1")),
    *(("PatientName", value) for value in ("NoCaret", "Yamada^Tarou=山田^太郎", "a^b^c^d^e", "Doe^Jane  ")),
    *(("PatientSex", value) for value in ("O ", "M", "")),
    *(("StudyTime", value) for value in ("07", "0708", "070809.5", "235960")),
    ("PatientBirthDate", "20240229"),
]
INVALID_UIDS = [
    *(("StudyInstanceUID", value) for value in ("1.2.826.0.1.03.77.5", "1.2.abc.4", "1." + "23" * 34, "1..2", "x")),
    *(("SOPInstanceUID", value) for value in ("1.2.826.0.1.03.77.5", "1.2.")),
    ("SeriesInstanceUID", "1.2.826.0.1.03.77.5"),
]


def shorten(value: str) -> str:
    return ascii(value[:16])


@pytest.fixture(autouse=True)
def small_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    monkeypatch.setattr("pneumoscope.pacs.dicom_output.draw_reading", lambda *_: pixels)


def encode(
    *, charset: str = "ISO_IR 192", implicit: bool = False, without: tuple[str, ...] = (), **elements: object
) -> bytes:
    """Return a radiograph with a header that may be invalid."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    source.preamble = bytes(128)
    source.SpecificCharacterSet = charset
    source.set_pixel_data(np.zeros((32, 32), np.uint8), "MONOCHROME2", 8, generate_instance_uid=False)
    for keyword, value in (HEADER | elements).items():
        if keyword not in without:
            source.add(DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE))
    return save(source)


def save(dataset: Dataset, **options: bool) -> bytes:
    stream = io.BytesIO()
    with quiet_pydicom():
        dataset.save_as(stream, **options)
    return stream.getvalue()


def make(source: bytes, reading: dict[str, Any] = READING, **options: bool) -> tuple[Dataset, Dataset, list[str]]:
    """Return secondary capture and report, encoded and read again, and the changes."""
    objects, changes = make_dicom_reading(source, reading, IMAGE, IMAGE, **options)
    capture, report = (dcmread(io.BytesIO(save(one, enforce_file_format=True))) for one in objects)
    assert capture.pixel_array.shape == (16, 16, 3) and report.ContentSequence
    return capture, report, changes


def get(dataset: Dataset, keyword: str) -> str:
    with quiet_pydicom():
        return str(dataset[keyword].value)


def list_referenced(report: Dataset) -> set[str]:
    return {
        get(instance, "ReferencedSOPInstanceUID")
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def list_uids(report: Dataset) -> list[str]:
    with quiet_pydicom():
        return [str(element.value) for element in report.iterall() if element.VR == "UI"]


@pytest.mark.parametrize(("keyword", "value"), VALID, ids=shorten)
def test_valid_values_stay(keyword: str, value: str) -> None:
    capture, report, changes = make(encode(**{keyword: value}))
    assert get(capture, keyword) == get(report, keyword) == value.rstrip()
    assert changes == []


@pytest.mark.parametrize(("keyword", "value"), LEFT_EMPTY, ids=shorten)
def test_invalid_values_are_left_empty_and_named(keyword: str, value: str) -> None:
    # Implicit VR, because an explicit one cannot hold 70,000 characters.
    capture, report, changes = make(encode(implicit=True, **{keyword: value}))
    for one in (capture, report):
        assert get(one, keyword) == "" and one.StudyInstanceUID == HEADER["StudyInstanceUID"]
        assert all(
            get(one, other) == HEADER[other] for other in radiograph_elements.PATIENT_AND_STUDY if other != keyword
        )
    (change,) = changes
    assert change in [f"{keyword} left empty: {reason}" for reason in REASONS]


@pytest.mark.parametrize(("keyword", "value"), KEPT, ids=shorten)
def test_identifiers_stay_as_in_the_radiograph(keyword: str, value: str) -> None:
    source = encode(**{keyword: value})
    capture, report, changes = make(source)
    expected = get(dcmread(io.BytesIO(source), force=True), keyword)
    assert get(capture, keyword) == get(report, keyword) == expected != ""
    (change,) = changes
    assert change.startswith(f"{keyword} kept as in the radiograph: ") and value not in change
    assert make(source, deidentify=True)[2] == []


@pytest.mark.parametrize(("keyword", "value"), INVALID_UIDS, ids=shorten)
def test_objects_are_in_the_study_and_refer_to_the_radiograph_of_invalid_uids(keyword: str, value: str) -> None:
    expected = HEADER | {keyword: value}
    capture, report, changes = make(encode(**{keyword: value}))
    assert get(capture, "StudyInstanceUID") == get(report, "StudyInstanceUID") == expected["StudyInstanceUID"]
    assert get(capture.SourceImageSequence[0], "ReferencedSOPInstanceUID") == expected["SOPInstanceUID"]
    assert list_referenced(report) == {capture.SOPInstanceUID, expected["SOPInstanceUID"]}
    assert changes == [f"{keyword} kept as in the radiograph: not a valid UID (PS3.5 9.1)"]
    assert value not in list_uids(make(encode(**{keyword: value}), deidentify=True)[1])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("StudyInstanceUID", value) for value in (None, "", "1.2 3", "1.2\\1.3", "1.2\x07")),
        *((keyword, None) for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")),
    ],
)
def test_an_unusable_uid_drops_only_the_references_that_need_it(keyword: str, value: str | None) -> None:
    source = encode(without=(keyword,)) if value is None else encode(**{keyword: value})
    capture, report, changes = make(source)
    assert capture.StudyInstanceUID == report.StudyInstanceUID
    assert (capture.StudyInstanceUID == HEADER["StudyInstanceUID"]) == (keyword != "StudyInstanceUID")
    assert ("SourceImageSequence" in capture) == (keyword in ("SeriesInstanceUID", "StudyInstanceUID"))
    assert list_referenced(report) == {capture.SOPInstanceUID}
    result = "replaced" if keyword == "StudyInstanceUID" else "not referenced"
    assert changes == [f"{keyword} {result}: missing or unusable"]


@pytest.mark.parametrize(
    ("charset", "value", "expected"),
    [
        ("ISO_IR 192", "Müller".encode("latin-1"), ""),
        ("ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 100", b"M\x9cller", ""),
        ("ISO 2022 IR 100", "Müller".encode("latin-1"), "Müller"),
        ("", "Müller".encode("latin-1"), ""),
        ("", b"Mueller", "Mueller"),
        ("ISO_IR 999", "Müller".encode("latin-1"), ""),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
    ],
)
def test_text_of_a_wrong_or_missing_character_set_is_left_empty(charset: str, value: bytes, expected: str) -> None:
    sign = "#" * (len(value) + len(value) % 2)
    source = encode(charset=charset, PatientID=sign, PatientName=sign).replace(sign.encode(), value.ljust(len(sign)))
    capture, report, changes = make(source)
    for keyword in ("PatientID", "PatientName"):
        assert get(capture, keyword) == get(report, keyword) == expected
    assert ["not readable in its character set" in change for change in changes] == [True] * 2 * (not expected)


def test_a_radiograph_without_any_element_is_reported() -> None:
    capture, report, changes = make(encode(without=tuple(HEADER)))
    for keyword in radiograph_elements.PATIENT_AND_STUDY:
        assert get(capture, keyword) == get(report, keyword) == ""
    assert capture.StudyInstanceUID == report.StudyInstanceUID
    assert len(changes) == 4 and all("UID" in change for change in changes)


def test_an_invalid_orientation_is_left_empty() -> None:
    capture, _, changes = make(encode(PatientOrientation=["left", "foot"]))
    assert capture.PatientOrientation in ("", None) and changes == ["PatientOrientation left empty: not two directions"]
    assert list(make(encode(PatientOrientation=["L", "F"]))[0].PatientOrientation) == ["L", "F"]


@pytest.mark.parametrize("without", [(), ("SOPInstanceUID", "StudyInstanceUID")], ids=["UID", "hash"])
def test_a_second_run_makes_the_same_objects(tmp_path: Path, without: tuple[str, ...]) -> None:
    source = encode(without=without)
    first = make(source)
    assert [list_uids(one) for one in make(source)[:2]] == [list_uids(one) for one in first[:2]]
    others = [
        make(encode(without=without, SOPInstanceUID="1.2.3.9", PatientID="MRN-2")),
        make(source, READING | {"model": "other"}),
        make(source, READING | {"operating_point": "screening"}),
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({one[keyword].value for pair in (first, *others) for one in pair[:2]}) == 8
    paths = [write_dicom_reading(source, READING, IMAGE, IMAGE, tmp_path)[0] for _ in range(2)]
    assert paths[0] == paths[1] and sorted(tmp_path.iterdir()) == sorted(paths[0])


def test_deidentified_uids_are_random_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, here = make(encode()), make(encode(), deidentify=True)
    monkeypatch.setattr(radiograph_elements, "_SALT", b"of another process")
    there = make(encode(), deidentify=True)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
        assert len({one[0][keyword].value for one in (plain, here, there)}) == 3


def test_only_the_user_can_read_the_files(tmp_path: Path) -> None:
    paths, _ = write_dicom_reading(encode(), READING, IMAGE, IMAGE, tmp_path / "new" / "folder")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (*paths, tmp_path / "new" / "folder", tmp_path / "new")]
    assert modes == [0o600, 0o600, 0o700, 0o700]


@pytest.mark.parametrize("changed", ["Manufacturer", "ManufacturerModelName", "SeriesDescription", None])
def test_objects_of_this_package_are_no_radiographs(changed: str | None) -> None:
    for one in make(encode())[:2]:
        if changed:
            one[changed].value = "changed by an archive"
        with pytest.raises(ImageError, match="that Pneumoscope wrote; expected the radiograph"):
            load_dicom(io.BytesIO(save(one)), Remarks())
    assert load_dicom(io.BytesIO(encode(Manufacturer="Other")), Remarks()).shape == (32, 32)
