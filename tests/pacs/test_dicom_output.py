"""DICOM objects of a reading: content, references, privacy, and validity."""

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
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import ImageError
from pneumoscope.labels import LabelSet
from pneumoscope.pacs.dicom_output import derive_instance_uids, make_dicom_reading, write_dicom_reading
from pneumoscope.report.reading_image import draw_reading

PREDICTED: dict[str, Any] = {
    "path": "/radiographs/DOE_JANE_1970.dcm",
    "error": None,
    "decision": "pneumonia",
    "operating_point": "balanced",
    "p_normal": 0.07,
    "p_bacterial": 0.71,
    "p_viral": 0.22,
    "p_pneumonia": 0.93,
    "anomaly_score": 0.0123,
    "anomaly_percentile": 97.3,
    "anomalous": True,
    "flag_trust": "False positive rate of the anomaly flag: nominal 5 %, measured 31 %.",
    "in_distribution": True,
    "reason": None,
    "neighbors": [{"name": "person1_virus_6.jpeg", "label": "viral", "distance": 1.2}],
    "heatmap": "/out/DOE_JANE_1970.png",
    "model": "pneumoscope-1.0-3f2a9c41",
    "label_set": KERMANY_LABELS,
    "thresholds": {"pneumonia": 0.6},
    "explained": "pneumonia",
}
FINDINGS = PREDICTED | {
    "decision": "Pneumothorax|Derrame pleural à direita",
    "p_Pneumothorax": 0.8,
    "p_Derrame pleural à direita": 0.6,
    "p_Masse \\ Rundherd": 0.1,
    "explained": "Pneumothorax",
    "thresholds": {"Pneumothorax": 0.3, "Derrame pleural à direita": 0.5, "Masse \\ Rundherd": 0.4},
    "anomaly_score": None,
    "anomaly_percentile": None,
    "in_distribution": None,
}
FINDINGS["label_set"] = LabelSet(tuple(FINDINGS["thresholds"]), "No Finding", multi_label=True)
PROBABILITIES = {"Normal": 0.07, "Pneumonia": 0.93, "Bacterial pneumonia": 0.71, "Viral pneumonia": 0.22}
REJECTED: dict[str, Any] = PREDICTED | {
    **dict.fromkeys(("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "anomaly_score", "anomaly_percentile")),
    "decision": "rejected",
    "explained": "",
    "in_distribution": False,
    "reason": "The header says left lateral view; expected a frontal view (PA or AP).",
}
UNCERTAIN = PREDICTED | {"decision": "uncertain", "operating_point": "0.35", "reason": "Most neighbors are normal."}
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
HEATMAP, IMAGE = np.zeros((80, 96), np.float32), np.full((80, 96), 0.5, np.float32)
HEATMAP[40:, 48:] = 1
BEYOND = {
    "InstitutionName": "Princeton-Plainsboro",
    "OtherPatientIDs": "OTHER-99",
    "StudyDescription": "Chest of Jane",
    "DeviceSerialNumber": "SERIAL-12",
}


def make_source(**elements: object) -> Dataset:
    """Return a computed radiograph of 80 x 96 pixels with many patient elements."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID, source.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    source.StudyInstanceUID, source.SeriesInstanceUID = generate_uid(), generate_uid()
    source.Modality, source.PatientOrientation = "CR", ["L", "F"]
    pixels = np.random.default_rng(0).integers(0, 256, (80, 96), dtype=np.uint8)
    source.set_pixel_data(pixels, "MONOCHROME2", 8, generate_instance_uid=False)
    for keyword, value in (REQUIRED | BEYOND | elements).items():
        setattr(source, keyword, value)
    return source


def encode(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def make(source: object, reading: dict[str, Any] = PREDICTED, **options: object) -> tuple[Dataset, Dataset]:
    """Return secondary capture and report, encoded and read back."""
    heatmap = HEATMAP if reading["explained"] else None
    made, _ = make_dicom_reading(source, reading, heatmap, IMAGE, **options)
    capture, document = (dcmread(io.BytesIO(encode(one))) for one in made)
    return capture, document


def list_items(item: Dataset) -> list[tuple[str, Any]]:
    """Return every content item below `item` as name and value."""
    items = []
    for child in item.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0].CodeMeaning
        if "ConceptCodeSequence" in child:
            items.append((name, child.ConceptCodeSequence[0].CodeMeaning))
        elif "MeasuredValueSequence" in child:
            items.append((name, float(child.MeasuredValueSequence[0].NumericValue)))
        elif "TextValue" in child:
            items.append((name, child.TextValue))
        items += list_items(child)
    return items


def list_probabilities(document: Dataset) -> dict[str, float]:
    """Return the probability of each finding."""
    items = [dict(list_items(group)) for group in document.ContentSequence[-1].ContentSequence]
    return {item["Finding"]: item["Probability"] for item in items if "Probability" in item}


def check(paths: list[Path]) -> None:
    """Fail where dciodvfy finds an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    for path in paths:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, timeout=60, errors="replace")
        output = done.stdout + done.stderr
        assert "SCImage" in output or "ComprehensiveSR" in output
        assert [line for line in output.splitlines() if line.startswith("Error")] == []


@pytest.mark.integration
@pytest.mark.parametrize("deidentify", [False, True], ids=["as is", "deidentified"])
@pytest.mark.parametrize(
    "reading", [PREDICTED, REJECTED, UNCERTAIN, FINDINGS], ids=["predicted", "rejected", "uncertain", "findings"]
)
@pytest.mark.parametrize("file_format", ["DICOM", "PNG"])
def test_files_conform_to_the_standard(
    tmp_path: Path, file_format: str, reading: dict[str, Any], deidentify: bool
) -> None:
    source = io.BytesIO(encode(make_source()))
    if file_format == "PNG":
        source = io.BytesIO()
        Image.new("L", (96, 80)).save(source, "PNG")
    paths, _ = write_dicom_reading(source, reading, HEATMAP, IMAGE, tmp_path / "new", deidentify=deidentify)
    assert [path.name.split("_")[0] for path in paths] == ["heatmap", "report"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    check(paths)


def test_the_uids_of_the_results_are_known_before() -> None:
    source = make_source()
    made = make(encode(source))
    names = (PREDICTED["model"], PREDICTED["operating_point"])
    assert [one.SOPInstanceUID for one in made] == derive_instance_uids(str(source.SOPInstanceUID), *names)


def test_the_report_holds_the_reading() -> None:
    from highdicom.sr import ComprehensiveSR

    capture, document = make(encode(make_source()))
    items = list_items(document)
    groups = ComprehensiveSR.from_dataset(document).content.get_image_measurement_groups()
    assert len(groups) == 6 and all(group.source_images for group in groups)
    assert list_probabilities(document) == PROBABILITIES
    for pair in [
        ("Intended use", RESEARCH_USE_ONLY),
        ("Decision at the operating point", "Pneumonia"),
        ("Operating point", "balanced operating point"),
        ("In distribution (similar to the training images)", "Yes"),
        ("Anomaly score (distance from normal radiographs)", 0.0123),
        ("Percentile among held-out normal radiographs", 97.3),
        ("Comment", PREDICTED["flag_trust"]),
        ("Algorithm Name", "pneumoscope"),
        ("Algorithm Version", __version__),
        ("Algorithm Parameters", "model pneumoscope-1.0-3f2a9c41"),
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


def test_decisions_that_are_no_class_have_a_code_and_a_reason() -> None:
    rejected, uncertain = (list_items(make(encode(make_source()), one)[1]) for one in (REJECTED, UNCERTAIN))
    assert ("Decision at the operating point", "Rejected: not a valid frontal chest radiograph") in rejected
    assert ("In distribution (similar to the training images)", "No") in rejected
    assert not [name for name, _ in rejected if name == "Probability"]
    assert ("Decision at the operating point", "Indeterminate") in uncertain
    assert ("Operating point", "User-defined threshold") in uncertain
    assert ("Algorithm Parameters", "operating point 0.35") in uncertain
    for items, reading in ((rejected, REJECTED), (uncertain, UNCERTAIN)):
        assert ("Comment", reading["reason"]) in items


def test_every_finding_is_listed_with_its_threshold() -> None:
    (overview, *findings) = make(encode(make_source()), FINDINGS)[1].ContentSequence[-1].ContentSequence
    decided = [value for name, value in list_items(overview) if name.startswith("Decision")]
    listed = [dict(list_items(group)) for group in findings]
    assert decided == ["Pneumothorax", "Derrame pleural à direita"]
    assert [(group["Finding"], group["Probability"], group["Threshold of the probability"]) for group in listed] == [
        ("Pneumothorax", 0.8, 0.3),
        ("Derrame pleural à direita", 0.6, 0.5),
        ("Masse / Rundherd", 0.1, 0.4),
    ]


def test_note_on_labels_stands_only_where_a_class_of_a_group_is_predicted() -> None:
    normal = PREDICTED | {"decision": "normal"}
    for reading, expected in ((PREDICTED, True), (normal, False), (UNCERTAIN, False), (REJECTED, False)):
        items = list_items(make(encode(make_source()), {**reading, "label_trust": "Unreliable in a subset."})[1])
        assert (("Comment", "Unreliable in a subset.") in items) == expected


def test_objects_are_new_series_in_the_study_of_the_radiograph() -> None:
    source = make_source()
    made = make(encode(source))
    for one in made:
        assert one.StudyInstanceUID == source.StudyInstanceUID
        assert {keyword: str(one[keyword].value) for keyword in REQUIRED} == REQUIRED
        assert "research use only" in one.SeriesDescription and one.Manufacturer == "Pneumoscope"
        assert "PatientIdentityRemoved" not in one
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({source[keyword].value, *(one[keyword].value for one in made)}) == 3


@pytest.mark.parametrize("deidentify", [False, True])
def test_other_patient_data_are_not_copied(deidentify: bool) -> None:
    source = make_source()
    secrets = [*BEYOND.values(), "DOE_JANE", "person1_virus"]
    if deidentify:
        secrets += [value for value in REQUIRED.values() if value != "F"] + [date.today().strftime("%Y%m%d")]
        secrets += [source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID]
    for one in make_dicom_reading(encode(source), PREDICTED, HEATMAP, IMAGE, deidentify=deidentify)[0]:
        data = encode(one)
        assert [text for text in secrets if text.encode() in data] == []
        if deidentify:
            assert one.PatientIdentityRemoved == "YES" and one.DeidentificationMethod
            assert str(one.PatientID).startswith("PNEUMO-") and one.PatientSex == ""


def test_pseudonyms_are_the_same_for_one_patient_and_study() -> None:
    first, second = make_source(), make_source(PatientName="Roe^Richard", PatientID="MRN-1")
    again = make_source(StudyInstanceUID=first.StudyInstanceUID)
    one, same, other = (make(encode(source), deidentify=True)[0] for source in (first, again, second))
    assert one.PatientID == same.PatientID != other.PatientID
    assert one.StudyInstanceUID == same.StudyInstanceUID != other.StudyInstanceUID


def test_burned_in_annotation_prevents_deidentification() -> None:
    data = encode(make_source(BurnedInAnnotation="YES"))
    assert make(data)[0].BurnedInAnnotation == "YES"
    assert make(encode(make_source()))[0].BurnedInAnnotation == "NO"
    with pytest.raises(ImageError, match="cannot be deidentified"):
        make(data, deidentify=True)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_file_without_a_patient_gets_a_study_of_its_own(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "DOE_JANE.jpg"
    Image.new("L", (96, 80)).save(path, file_format)
    capture, document = make(path)
    assert capture.StudyInstanceUID == document.StudyInstanceUID
    assert capture.StudyInstanceUID != make(path, deidentify=True)[0].StudyInstanceUID
    assert str(capture.PatientName) == "ANONYMOUS^" and capture.StudyDate == ""
    assert capture.LossyImageCompression == ("01" if file_format == "JPEG" else "00")
    assert "SourceImageSequence" not in capture
    assert list_probabilities(document)["Pneumonia"] == 0.93


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "Yamada^Tarou=山田^太郎"), ("", "NoCaret")]
)
def test_names_of_any_script_stay_as_they_are(charset: str, name: str) -> None:
    for one in make(encode(make_source(SpecificCharacterSet=charset, PatientName=name))):
        assert str(one.PatientName) == name


def test_nothing_is_logged_or_printed(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(make_source(PatientName="NoCaret")).replace(b"19700102", b"in 1970.")
    with caplog.at_level(logging.DEBUG):
        make_dicom_reading(data, PREDICTED, HEATMAP, IMAGE)
    assert [record for record in caplog.records if record.name.startswith(("pydicom", "highdicom"))] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reading", [PREDICTED, REJECTED])
def test_capture_contains_the_drawn_reading(reading: dict[str, Any]) -> None:
    expected = draw_reading(reading, None if reading is REJECTED else HEATMAP, IMAGE)
    capture = make(encode(make_source()), reading)[0]
    assert capture.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert len(capture.PixelData) < expected.nbytes / 4
    np.testing.assert_array_equal(capture.pixel_array, expected)


def test_invalid_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match="decision is None"):
        make_dicom_reading(b"", PREDICTED | {"error": "empty file", "decision": None}, HEATMAP, IMAGE)
    with pytest.raises(ValueError, match=r"\(80, 96\) and \(40, 96\)"):
        make_dicom_reading(b"", PREDICTED, HEATMAP[:40], IMAGE)
    with pytest.raises(ImageError, match="does not exist"):
        make_dicom_reading("nowhere.dcm", PREDICTED, HEATMAP, IMAGE)


@pytest.mark.integration
@pytest.mark.real_data
def test_real_radiographs_are_reported(real_data: Path, tmp_path: Path) -> None:
    paths = sorted((real_data.parent / "dicom").glob("*.dcm"))
    if not paths:
        pytest.skip("the real DICOM files are missing (folder `dicom` next to PNEUMOSCOPE_DATA)")
    for path in paths:
        for deidentify in (False, True):
            check(write_dicom_reading(path, PREDICTED, HEATMAP, IMAGE, tmp_path, deidentify=deidentify)[0])
