"""A reading as DICOM: what it says, whose study it joins, and what it keeps to itself."""

import io
import logging
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import ImageError
from pneumoscope.pacs.dicom_output import make_dicom_reading, write_dicom_reading
from pneumoscope.report.reading_picture import draw_reading

ANSWERED: dict[str, Any] = {
    "path": "/films/DOE_JANE_1970.dcm",
    "error": None,
    "decision": "pneumonia",
    "operating_point": "balanced",
    "p_normal": 0.07,
    "p_bacterial": 0.71,
    "p_viral": 0.22,
    "p_pneumonia": 0.93,
    "anomaly_score": 0.0123,
    "anomaly_percentile": 97.3,
    "in_domain": True,
    "reason": None,
    "neighbors": [{"name": "person1_virus_6.jpeg", "label": "viral", "distance": 1.2}],
    "heatmap": "/out/DOE_JANE_1970.png",
    "model": "best-3f2a9c41",
}
REFUSED: dict[str, Any] = ANSWERED | {
    **dict.fromkeys(("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "anomaly_score", "anomaly_percentile")),
    "decision": "refused",
    "in_domain": False,
    "reason": "The header says left lateral view; expected a frontal view (PA or AP).",
    "neighbors": [],
}
UNSURE = ANSWERED | {"decision": "not sure", "operating_point": "0.35", "reason": "Most of the nearest are normals."}
REQUIRED = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "StudyDate": "20240506",
    "StudyTime": "070809",
    "ReferringPhysicianName": "House^Gregory",
    "StudyID": "STUDY-77",
    "AccessionNumber": "ACC-88",
}
BEYOND = {
    "InstitutionName": "Princeton-Plainsboro",
    "InstitutionAddress": "Secret Street 5",
    "OperatorsName": "Operator^Olga",
    "OtherPatientIDs": "OTHER-99",
    "PatientAddress": "Hidden Lane 6",
    "PatientComments": "likes chess",
    "StudyDescription": "Chest of Jane",
    "PatientAge": "054Y",
    "StationName": "STATION-3",
    "DeviceSerialNumber": "SERIAL-12",
}


def make_source(**elements: object) -> Dataset:
    """Return a computed radiograph of 80 x 96 pixels that tells much of its patient."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.file_meta.MediaStorageSOPClassUID = source.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID = generate_uid()
    source.StudyInstanceUID, source.SeriesInstanceUID = generate_uid(), generate_uid()
    source.Rows, source.Columns, source.Modality = 80, 96, "CR"
    source.SamplesPerPixel, source.PhotometricInterpretation = 1, "MONOCHROME2"
    source.BitsAllocated, source.BitsStored, source.HighBit, source.PixelRepresentation = 8, 8, 7, 0
    source.PixelData = np.random.default_rng(0).integers(0, 256, (80, 96), dtype=np.uint8).tobytes()
    source["PixelData"].VR = "OB"
    source.PatientOrientation = ["L", "F"]
    for keyword, value in (REQUIRED | BEYOND | elements).items():
        setattr(source, keyword, value)
    return source


def encode(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def draw_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Return a heat-map with one hot quarter, and a gray picture."""
    heatmap = np.zeros((80, 96), np.float32)
    heatmap[40:, 48:] = 1
    return heatmap, np.full((80, 96), 0.5, np.float32)


def make(source: object, reading: dict[str, Any] = ANSWERED, **options: object) -> tuple[Dataset, Dataset]:
    """Return picture and report, as they are read back."""
    heatmap, picture = draw_arrays()
    made = make_dicom_reading(source, reading, heatmap if reading["p_normal"] is not None else None, picture, **options)
    capture, document = (dcmread(io.BytesIO(encode(one))) for one in made)
    return capture, document


def list_items(item: Dataset) -> list[tuple[str, Any]]:
    """Return every content item below `item` as name and value."""
    found = []
    for child in item.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0].CodeMeaning
        if "ConceptCodeSequence" in child:
            found.append((name, child.ConceptCodeSequence[0].CodeMeaning))
        elif "MeasuredValueSequence" in child:
            found.append((name, float(child.MeasuredValueSequence[0].NumericValue)))
        elif "TextValue" in child:
            found.append((name, child.TextValue))
        found += list_items(child)
    return found


def list_probabilities(document: Dataset) -> dict[str, float]:
    """Return the probability of each finding."""
    (measurements,) = [
        item for item in document.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    ]
    items = [dict(list_items(group)) for group in measurements.ContentSequence]
    return {item["Finding"]: item["Probability"] for item in items if "Probability" in item}


def check(paths: list[Path]) -> None:
    """Fail where dicom3tools' verifier of the standard finds an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    for path in paths:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, timeout=60, errors="replace")
        told = done.stdout + done.stderr
        assert "SCImage" in told or "ComprehensiveSR" in told
        assert [line for line in told.splitlines() if line.startswith("Error")] == []


# --- the standard --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deidentify", [False, True], ids=["as is", "deidentified"])
@pytest.mark.parametrize("reading", [ANSWERED, REFUSED, UNSURE], ids=["answered", "refused", "unsure"])
@pytest.mark.parametrize("kind", ["DICOM", "PNG"])
def test_the_files_keep_to_the_standard(tmp_path: Path, kind: str, reading: dict[str, Any], deidentify: bool) -> None:
    source = io.BytesIO(encode(make_source()))
    if kind == "PNG":
        source = io.BytesIO()
        Image.new("L", (96, 80)).save(source, "PNG")
    heatmap, picture = draw_arrays()
    paths = write_dicom_reading(source, reading, heatmap, picture, tmp_path / "new", deidentify=deidentify)
    assert [path.name.split("_")[0] for path in paths] == ["heatmap", "report"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    check(paths)


def test_highdicom_reads_the_report_back() -> None:
    from highdicom.sr import ComprehensiveSR

    document = ComprehensiveSR.from_dataset(make(encode(make_source()))[1])
    groups = document.content.get_image_measurement_groups()
    assert len(groups) == 6
    assert {group.finding_type.meaning for group in groups if group.finding_type} == {
        "Normal", "Pneumonia", "Bacterial pneumonia", "Viral pneumonia",
    }  # fmt: skip
    assert all(group.source_images for group in groups)


# --- what they say -------------------------------------------------------------------------------------------------


def test_the_report_holds_the_reading() -> None:
    capture, document = make(encode(make_source()))
    items = list_items(document)
    assert list_probabilities(document) == {
        "Normal": 0.07, "Pneumonia": 0.93, "Bacterial pneumonia": 0.71, "Viral pneumonia": 0.22,
    }  # fmt: skip
    for pair in [
        ("Intended use", RESEARCH_USE_ONLY),
        ("Decision at the operating point", "Pneumonia"),
        ("Operating point", "balanced operating point"),
        ("Looks like the training images", "Yes"),
        ("Anomaly score, distance from normal films", 0.0123),
        ("Share of normals with a smaller error", 97.3),
        ("Algorithm Name", "pneumoscope"),
        ("Algorithm Version", __version__),
        ("Algorithm Parameters", "model best-3f2a9c41"),
    ]:
        assert pair in items
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (document.VerificationFlag, document.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    referenced = {
        instance.ReferencedSOPInstanceUID
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert referenced == {capture.SOPInstanceUID, capture.SourceImageSequence[0].ReferencedSOPInstanceUID}


def test_a_refusal_has_a_reason_and_no_probability() -> None:
    items = list_items(make(encode(make_source()), REFUSED)[1])
    assert ("Decision at the operating point", "Refused: no frontal chest film") in items
    assert ("Comment", REFUSED["reason"]) in items
    assert ("Looks like the training images", "No") in items
    assert not [name for name, _ in items if name == "Probability"]


def test_a_threshold_of_ones_own_is_told() -> None:
    items = list_items(make(encode(make_source()), UNSURE)[1])
    assert ("Decision at the operating point", "Indeterminate") in items
    assert ("Operating point", "Own threshold") in items
    assert ("Algorithm Parameters", "operating point 0.35") in items


# --- whose study they join -----------------------------------------------------------------------------------------


def test_they_join_the_study_of_the_film_as_new_series() -> None:
    source = make_source()
    made = make(encode(source))
    for one in made:
        assert one.StudyInstanceUID == source.StudyInstanceUID
        assert {keyword: str(one[keyword].value) for keyword in REQUIRED} == REQUIRED
        assert "research use only" in one.SeriesDescription and one.Manufacturer == "Pneumoscope"
        assert "PatientIdentityRemoved" not in one
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({source[keyword].value, *(one[keyword].value for one in made)}) == 3


def test_nothing_beyond_what_is_required_is_copied() -> None:
    heatmap, picture = draw_arrays()
    for one in make_dicom_reading(encode(make_source()), ANSWERED, heatmap, picture):
        data = encode(one)
        for text in (*BEYOND.values(), "DOE_JANE", "person1_virus"):
            assert text.encode() not in data


def test_deidentified_files_tell_nothing_of_the_patient() -> None:
    source = make_source()
    secrets = [*REQUIRED.values(), *BEYOND.values(), date.today().strftime("%Y%m%d"), "DOE_JANE"]
    secrets += [source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID]
    secrets.remove("F")
    heatmap, picture = draw_arrays()
    for one in make_dicom_reading(encode(source), ANSWERED, heatmap, picture, deidentify=True):
        data = encode(one)
        for text in secrets:
            assert text.encode() not in data, text
        assert one.PatientIdentityRemoved == "YES" and one.DeidentificationMethod
        assert str(one.PatientID).startswith("PNEUMO-") and one.PatientSex == ""


def test_pseudonyms_are_alike_for_one_patient_and_study() -> None:
    first, second = make_source(), make_source(PatientName="Roe^Richard", PatientID="MRN-1")
    again = make_source(StudyInstanceUID=first.StudyInstanceUID)
    told = [make(encode(source), deidentify=True)[0] for source in (first, again, second)]
    assert told[0].PatientID == told[1].PatientID != told[2].PatientID
    assert told[0].StudyInstanceUID == told[1].StudyInstanceUID != told[2].StudyInstanceUID


def test_a_film_whose_pixels_name_the_patient_is_not_deidentified() -> None:
    data = encode(make_source(BurnedInAnnotation="YES"))
    assert make(data)[0].BurnedInAnnotation == "YES"
    with pytest.raises(ImageError, match="cannot be deidentified"):
        make(data, deidentify=True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_without_a_patient_gets_a_study_of_its_own(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "DOE_JANE.jpg"
    Image.new("L", (96, 80)).save(path, kind)
    capture, document = make(path)
    assert capture.StudyInstanceUID == document.StudyInstanceUID != make(path)[0].StudyInstanceUID
    assert str(capture.PatientName) == "ANONYMOUS^" and capture.StudyDate == ""
    assert capture.LossyImageCompression == ("01" if kind == "JPEG" else "00")
    assert "SourceImageSequence" not in capture
    assert list_probabilities(document)["Pneumonia"] == 0.93


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "Yamada^Tarou=山田^太郎"), ("", "NoCaret")]
)
def test_names_of_any_script_stay_as_they_are(charset: str, name: str) -> None:
    for one in make(encode(make_source(SpecificCharacterSet=charset, PatientName=name))):
        assert str(one.PatientName) == name


def test_values_that_break_the_rules_are_left_out() -> None:
    data = encode(make_source()).replace(b"20240506", b"May 2024").replace(b"ACC-88", b"A\\B-88")
    for one in make(data):
        assert one.StudyDate == "" and one.AccessionNumber == "" and one.PatientID == "MRN-4711"


def test_a_film_that_lost_its_references_is_still_reported() -> None:
    source = make_source()
    del source.SeriesInstanceUID
    capture, document = make(encode(source))
    assert capture.StudyInstanceUID == document.StudyInstanceUID == source.StudyInstanceUID
    assert "SourceImageSequence" not in capture


def test_nothing_is_warned_logged_or_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encode(make_source(PatientName="NoCaret")).replace(b"19700102", b"in 1970.")
    with caplog.at_level(logging.DEBUG):
        make_dicom_reading(data, ANSWERED, *draw_arrays())
    assert [record for record in caplog.records if record.name.startswith(("pydicom", "highdicom"))] == []
    assert capfd.readouterr() == ("", "")


# --- the picture ---------------------------------------------------------------------------------------------------


def test_the_picture_is_large_enough_to_be_read_and_warm_where_the_heat_is() -> None:
    heatmap, picture = draw_arrays()
    drawn = draw_reading(ANSWERED, heatmap, picture)
    assert drawn.dtype == np.uint8 and drawn.shape[1] == 1024 and drawn.shape[2] == 3
    top = np.flatnonzero((drawn[:, 5] == 128).all(axis=1))[0]
    film = drawn[top : top + 853].astype(int)
    cool, warm = film[: 853 // 2 - 20, :480], film[853 // 2 + 20 :, 540:]
    assert (cool == 128).all()
    assert (warm[..., 0] - warm[..., 2] > 30).mean() > 0.9


def test_the_notice_is_burned_in_above_the_film_and_the_answer_below() -> None:
    heatmap, picture = draw_arrays()
    drawn = draw_reading(ANSWERED, heatmap, picture).astype(int)
    amber = (drawn[..., 0] > 200) & (drawn[..., 1] > 140) & (drawn[..., 2] < 120)
    assert amber[:48].sum() > 1000
    quiet = draw_reading(ANSWERED | {"decision": "normal"}, heatmap, picture).astype(int)
    changed = np.flatnonzero((drawn != quiet).any(axis=(1, 2)))
    assert changed.min() > 48 + 853


def test_how_far_to_trust_subtypes_is_told_with_them_alone() -> None:
    heatmap, picture = draw_arrays()
    trust = {"subtype_trust": "Not told alike everywhere."}
    for reading, told in ((ANSWERED, True), (REFUSED, False)):
        plain, noted = (draw_reading({**reading, **more}, heatmap, picture) for more in ({}, trust))
        assert (len(noted) > len(plain)) == told
        comments = list_items(make(encode(make_source()), {**reading, **trust})[1])
        assert (("Comment", trust["subtype_trust"]) in comments) == told


def test_how_far_to_trust_the_heat_stands_below_the_answer() -> None:
    heatmap, picture = draw_arrays()
    plain, told = (
        draw_reading({**ANSWERED, "heatmap_trust": trust}, heatmap, picture) for trust in ("", "A hint, not a proof.")
    )
    assert len(told) > len(plain)
    untold = draw_reading({**ANSWERED, "heatmap_trust": "A hint, not a proof."}, None, picture)
    np.testing.assert_array_equal(untold, draw_reading(ANSWERED, None, picture))


def test_a_huge_picture_is_reduced_and_keeps_its_aspect() -> None:
    drawn = draw_reading(REFUSED, None, np.full((3000, 2400), 0.5, np.float32))
    gray = (drawn == 128).all(axis=2)
    assert (gray.sum(axis=0).max(), gray.sum(axis=1).max()) == (2048, 1638)


@pytest.mark.parametrize("reading", [ANSWERED, REFUSED])
def test_the_picture_is_what_is_drawn(reading: dict[str, Any]) -> None:
    heatmap, picture = draw_arrays()
    heatmap = None if reading is REFUSED else heatmap
    (capture, _) = make(encode(make_source()), reading)
    np.testing.assert_array_equal(capture.pixel_array, draw_reading(reading, heatmap, picture))


# --- mistakes ------------------------------------------------------------------------------------------------------


def test_mistakes_are_told() -> None:
    heatmap, picture = draw_arrays()
    with pytest.raises(ValueError, match="decision is None"):
        make_dicom_reading(b"", ANSWERED | {"error": "empty file", "decision": None}, heatmap, picture)
    with pytest.raises(ValueError, match=r"\(80, 96\) and \(40, 96\)"):
        make_dicom_reading(b"", ANSWERED, heatmap[:40], picture)
    with pytest.raises(ImageError, match="does not exist"):
        make_dicom_reading("nowhere.dcm", ANSWERED, heatmap, picture)


@pytest.mark.real_data
def test_real_films_are_reported(real_data: Path, tmp_path: Path) -> None:
    films = sorted((real_data.parent / "dicom").glob("*.dcm"))
    if not films:
        pytest.skip("the real DICOM files are not at hand (a folder dicom beside PNEUMOSCOPE_DATA)")
    heatmap, picture = draw_arrays()
    for film in films:
        check(write_dicom_reading(film, ANSWERED, heatmap, picture, tmp_path))
        check(write_dicom_reading(film, ANSWERED, heatmap, picture, tmp_path, deidentify=True))
