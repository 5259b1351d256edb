"""What the header states about view and body part, detection by content, and silence about patients."""

import io
import logging
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumoscope.data.dicom import describe_header, is_dicom, quiet_pydicom, read_header
from pneumoscope.data.identity import Identity
from pneumoscope.data.image import load_gray
from pneumoscope.data.remarks import Remarks
from pneumoscope.errors import ImageError

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom writes faulty elements, too
DX, SC = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"


def make_code(value, meaning, scheme="SCT"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


UNSUITABLE = {
    "left lateral": ({"ViewPosition": "LL"}, "is lateral or oblique;"),
    "decubitus": ({"ViewPosition": "RLD"}, "is lateral or oblique;"),
    "lateral in words": ({"ViewPosition": "CHEST LAT"}, "is lateral or oblique;"),
    "lateral by code": ({"ViewCodeSequence": make_code("399067008", "")}, "is lateral or oblique;"),
    "lateral by old code": ({"ViewCodeSequence": make_code("R-10236", "", "SRT")}, "is lateral or oblique;"),
    "lateral by meaning": ({"ViewCodeSequence": make_code("1", "Left lateral", "99X")}, "is lateral or oblique;"),
    "lateral by orientation": ({"PatientOrientation": ["P", "F"]}, "orientation is lateral"),
    "hand": ({"BodyPartExamined": "HAND"}, "is hand; expected the chest"),
    "lateral with side": ({"ViewPosition": "LLAT"}, "is lateral or oblique;"),
    "two views": ({"ViewPosition": "PA_LAT"}, "is lateral or oblique;"),
    "right lateral in French": ({"ViewPosition": "profil rlat"}, "is lateral or oblique;"),
    "thoracic spine": ({"BodyPartExamined": "TSPINE"}, "is tspine; expected the chest"),
    "hand by code": ({"AnatomicRegionSequence": make_code("85562004", "Hand")}, "not the chest"),
    "CT": ({"Modality": "CT"}, "modality is CT;"),
    "unknown modality": ({"Modality": "DOE"}, "another modality"),
    "raw": ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING;"),
}
SUITABLE = {
    "bare": {},
    "PA": {"ViewPosition": "PA", "BodyPartExamined": "CHEST", "Modality": "DX", "SOPClassUID": DX},
    "AP": {"ViewPosition": "AP", "BodyPartExamined": "THORAX", "Modality": "DR"},
    "codes": {
        "ViewCodeSequence": make_code("399348003", "antero-posterior"),
        "AnatomicRegionSequence": make_code("816094009", "Chest"),
    },
    "old code": {"AnatomicRegionSequence": make_code("T-D3000", "", "SRT")},
    "secondary capture": {"Modality": "OT", "SOPClassUID": SC, "PatientOrientation": ["L", "F"]},
    "empty": {"ViewPosition": "", "BodyPartExamined": "", "PatientOrientation": "", "ViewCodeSequence": []},
    "presentation": {"PresentationIntentType": "FOR PRESENTATION", "Modality": "RG"},
    **{part: {"BodyPartExamined": part} for part in ("POITRINE", "TORAX", "CHST", "THX", "T\u00d3RAX", "Pulm\u00f5es")},
    "view with a word": {"ViewPosition": "PA erect, plate"},
}


def list_objections(source):
    remarks = Remarks()
    describe_header(source, remarks)
    assert not remarks.cautions
    return remarks.objections


@pytest.mark.parametrize("name", UNSUITABLE)
def test_unsuitable_header_gives_a_reason(name, image, make_dicom):
    elements, expected = UNSUITABLE[name]
    (reason,) = list_objections(make_dicom(image, **elements))
    assert expected in reason and reason.endswith(".") and "DOE" not in reason


@pytest.mark.parametrize("name", SUITABLE)
def test_frontal_chest_radiograph_gives_no_reason(name, image, make_dicom):
    assert list_objections(make_dicom(image, **SUITABLE[name])) == []


@pytest.mark.parametrize("part", ["DOE JANE", "ZZ"])
def test_an_unknown_body_part_is_a_caution(part, image, make_dicom):
    remarks = Remarks()
    describe_header(make_dicom(image, BodyPartExamined=part), remarks)
    assert remarks.cautions == ["The DICOM body part is an unknown term; expected the chest."]
    assert not remarks.objections


def test_identity_is_read_and_damaged_elements_are_none(image, make_dicom):
    elements = {"PatientAge": "018M", "PatientSex": "F", "ViewPosition": "AP", "StudyDate": "20240305"}
    data = make_dicom(image, **elements, AccessionNumber="A1", StudyInstanceUID="1.2.3", Laterality="")
    identity = describe_header(data, Remarks())
    assert (identity.patient_id, identity.accession_number, identity.study_instance_uid) == ("4711", "A1", "1.2.3")
    assert (identity.age_years, identity.sex, identity.view, identity.laterality) == (1.5, "F", "AP", None)
    born = make_dicom(image, PatientBirthDate="19620305", StudyDate="20240305")
    assert describe_header(born, Remarks()).age_years == 62
    assert describe_header(make_dicom(image, PatientAge="old", StudyDate="2024"), Remarks()).age_years is None


def test_every_reason_is_listed(image, make_dicom):
    assert len(list_objections(make_dicom(image, ViewPosition="LL", BodyPartExamined="KNEE", Modality="MR"))) == 3


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("meta", [True, False], ids=["meta", "bare"])
def test_file_without_preamble_is_loaded(syntax, meta, image, make_dataset, encode):
    dataset = make_dataset(image, syntax=syntax)
    whole = encode(dataset)
    bare = io.BytesIO()
    if meta:
        bare.write(whole[132:])
    else:
        del dataset.file_meta
        implicit = syntax == ImplicitVRLittleEndian
        dataset.save_as(bare, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert is_dicom(bare.getvalue())
    np.testing.assert_array_equal(load_gray(bare.getvalue()), load_gray(whole))


def test_other_content_is_no_dicom(image, make_png):
    jpeg = make_png(image, "JPEG")
    for data in (make_png(image), jpeg, b"", b"\0" * 200, b"text, " * 60, b"\x08\x00" * 90):
        assert not is_dicom(data)
        assert list_objections(data) == []
        assert describe_header(data, Remarks()) == Identity()
    with pytest.raises(ImageError, match="not a DICOM file"):
        read_header(jpeg)


@pytest.fixture
def invalid_birth_date(image, make_dicom):
    """Return a file that pydicom warns of, quoting its values."""
    data = make_dicom(image, PatientBirthDate="19700101", PixelData=image.tobytes() + bytes(40))
    assert b"19700101" in data
    return data.replace(b"19700101", b"DOE BORN").replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00DA")


def test_nothing_is_warned_or_logged(invalid_birth_date, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        load_gray(invalid_birth_date)
        describe_header(invalid_birth_date, Remarks())
    assert "DOE" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")


def test_silence_ends_when_the_last_thread_leaves(make_dicom, image):
    logger = logging.getLogger("pydicom")
    before, level = list(warnings.filters), logger.level
    barrier = threading.Barrier(8)
    data = make_dicom(image)

    def load():
        barrier.wait()
        for _ in range(5):
            load_gray(data)

    with quiet_pydicom():
        assert logger.level > logging.CRITICAL
    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before and logger.level == level


@pytest.mark.parametrize("name", ["a.jpeg", "a.dcm"])
def test_pydicom_is_imported_for_dicom_alone_and_stays_silent(name, tmp_path, image, make_png, invalid_birth_date):
    path = tmp_path / name
    path.write_bytes(make_png(image, "JPEG") if name == "a.jpeg" else invalid_birth_date)
    code = (
        "import sys; from pneumoscope.data.image import load_gray; load_gray(sys.argv[1]); "
        "print([name for name in ('pydicom', 'highdicom', 'gdcm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("pydicom" in done.stdout) == (name == "a.dcm")
    assert "highdicom" not in done.stdout
