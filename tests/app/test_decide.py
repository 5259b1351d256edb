"""Decisions at another operating point, and what the viewer shows of DICOM files."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from pydicom import Dataset

from pneumoscope.app import schema
from pneumoscope.app.api import MAX_EVIDENCE_BYTES
from pneumoscope.app.dicom_view import describe_dicom
from pneumoscope.data.image import load_gray

POINTS = ("screening", "specific", "0.05", "0.97")


def read(client, files, point="balanced"):
    answer = client.post("/api/read", files=[("files", file) for file in files], data={"operating_point": point})
    return answer.json()["readings"]


def test_decisions_equal_those_of_another_reading(client, radiographs, reader):
    files = [(f"{name}.jpeg", radiographs[name]) for name in ("normal", "bacterial", "viral")]
    readings = read(client, files)
    request = {"model": reader.models.id, "evidence": [reading["evidence"] for reading in readings]}
    seen = set()

    for point in POINTS:
        answer = client.post("/api/decide", json={**request, "operating_point": point}).json()
        assert TypeAdapter(schema.Decisions).validate_python(answer, strict=True) == answer
        for decision, other in zip(answer["decisions"], read(client, files, point), strict=True):
            decided = {key: decision[key] for key in ("decision", "reason", "summary")}
            assert decided == {key: other[key] for key in decided}
            assert answer["thresholds"] == other["thresholds"]
            seen.add(decision["decision"])

    assert len(seen) > 1, "the operating point changes no decision, so the test would not fail"


def test_a_rejected_image_has_no_evidence(client, radiographs, make_dicom):
    (reading,) = read(
        client, [("a.dcm", make_dicom(np.asarray(load_pixels(radiographs["normal"])), ViewPosition="LL"))]
    )

    assert reading["decision"] == "rejected"
    assert reading["evidence"] is None


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"model": "other"}, 400, "other models"),
        ({"operating_point": "sharp"}, 400, "'sharp'"),
        ({"evidence": [{"probabilities": {}, "intervals": {}, "positive_share": None, "check": ""}]}, 400, "classes"),
        ({"evidence": [{"probabilities": {"normal": 2.0}}]}, 400, "probabilities.normal"),
        ({"evidence": "x" * MAX_EVIDENCE_BYTES}, 413, "several requests"),
    ],
)
def test_an_invalid_request_is_answered_with_its_error(client, reader, changes, status, message):
    request = {"model": reader.models.id, "operating_point": "balanced", "evidence": []}

    answer = client.post("/api/decide", content=json.dumps({**request, **changes}))

    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.fixture
def pixels():
    """Return (20, 30) 8-bit gray levels from 10 to 250."""
    return np.linspace(10, 250, 600).reshape(20, 30).astype(np.uint8)


def load_pixels(content):
    return np.rint(255 * load_gray(content)).astype(np.uint8)


def unpack(values):
    png = base64.b64decode(values["image"].removeprefix("data:image/png;base64,"))
    codes = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    low, high = values["ends"]
    return low + (high - low) * (256 * codes[..., 0] + codes[..., 1]) / 65535


def present(preset, values):
    """Return the gray levels of a preset in [0, 1], as the page draws them."""
    low, high = values["ends"]
    shares = (unpack(values) - low) / (high - low)
    if preset["table"]:
        table = np.frombuffer(base64.b64decode(preset["table"]), np.uint8)
        return table[np.rint(65535 * shares).astype(int)] / 255
    center, width = preset["window"]
    return np.clip(0.5 + (unpack(values) - center) * np.sign(high - low) / width, 0, 1)


def describe(file):
    return describe_dicom(file, load_gray(file), 2048)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_values_are_in_units_and_the_first_preset_is_what_models_receive(make_dicom, pixels, photometric):
    file = make_dicom(
        pixels,
        PhotometricInterpretation=photometric,
        RescaleSlope="4",
        RescaleIntercept="-1000",
        RescaleType="HU",
        WindowCenter=["-500", "-900"],
        WindowWidth=["960", "100"],
        WindowCenterWidthExplanation=["LUNG", "AIR"],
    )
    view = describe(file)

    assert TypeAdapter(schema.DicomView).validate_python(view, strict=True) == view
    assert view["values"]["unit"] == "HU"
    np.testing.assert_allclose(unpack(view["values"]), 4.0 * pixels - 1000, atol=0.02)
    assert [preset["name"] for preset in view["presets"]] == ["LUNG (as the models receive it)", "AIR", "Full range"]
    np.testing.assert_allclose(present(view["presets"][0], view["values"]), load_gray(file), atol=1 / 200)
    assert view["presets"][1]["window"] == pytest.approx([-900.5, 99], abs=0.1)


def test_a_voi_lut_becomes_a_table(make_dicom, pixels):
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation = [256, 0, 8], "CURVE"
    item.LUTData = bytes(int(255 * (gray / 255) ** 2) for gray in range(256))
    file = make_dicom(pixels, VOILUTSequence=[item], WindowCenter="128", WindowWidth="100")
    view = describe(file)

    assert [preset["name"] for preset in view["presets"]][:2] == ["CURVE (as the models receive it)", "Window 1"]
    assert view["presets"][0]["window"] is None
    np.testing.assert_allclose(present(view["presets"][0], view["values"]), load_gray(file), atol=1 / 200)


def test_the_header_is_described_and_faults_are_left_out(make_dicom, pixels):
    stated = {"PatientAge": "004Y", "PatientSex": "F", "ViewPosition": "AP", "StudyDate": "20250317"}
    header = describe(make_dicom(pixels, **stated))["header"]
    faulty = describe(make_dicom(pixels, PatientName="A\x1b[31m", StudyDate=""))["header"]

    assert header == {
        "name": "Sample, Case",
        "id": "SAMPLE-1",
        "age": "4 years",
        "sex": "F",
        "view": "AP",
        "study_date": "2025-03-17",
    }
    assert faulty["name"] == "A[31m"
    assert faulty["study_date"] == ""


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, None),
        ({"ImagerPixelSpacing": ["0.2", "0.1"]}, {"rows": 0.2, "columns": 0.1, "plane": "at the detector"}),
        ({"PixelSpacing": ["0.2", "0.2"]}, {"rows": 0.2, "columns": 0.2, "plane": "plane not stated"}),
        (
            {"ImagerPixelSpacing": ["0.2", "0.2"], "PixelSpacing": ["0.2", "0.2"]},
            {"rows": 0.2, "columns": 0.2, "plane": "at the detector"},
        ),
        (
            {"ImagerPixelSpacing": ["0.2", "0.2"], "PixelSpacing": ["0.15", "0.15"]},
            {"rows": 0.15, "columns": 0.15, "plane": "calibrated"},
        ),
        ({"PixelSpacing": ["0", "0"]}, None),
    ],
)
def test_the_spacing_says_in_which_plane(make_dicom, pixels, elements, expected):
    assert describe(make_dicom(pixels, **elements))["spacing"] == expected
