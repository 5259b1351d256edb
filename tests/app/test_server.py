"""The JSON API."""

import base64
import io
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from pydicom import dcmread
from starlette.datastructures import UploadFile

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app import schema
from pneumoscope.app.predictions import read_uploads
from pneumoscope.data.decode import decode_radiograph
from pneumoscope.data.dicom import quiet_pydicom
from pneumoscope.data.image import load_image
from pneumoscope.inference.reading import IDENTITY_COLUMNS
from pneumoscope.inference.table import list_columns


def read(client, *files, detail="row", **fields):
    """Send files, each a name and its bytes, and return their readings."""
    parts = [("files", file) for file in files]
    answer = client.post("/api/read", params={"detail": detail}, data=fields, files=parts)
    assert answer.status_code == 200, answer.text
    readings = TypeAdapter(schema.Readings).validate_python(answer.json(), strict=True)
    assert readings == answer.json()
    return answer.json()["readings"]  # the check puts additional keys last


def test_health_names_version_and_models(client, reader):
    expected = {"status": "ok", "notice": RESEARCH_USE_ONLY, "version": __version__, "model": reader.models.id}
    assert client.get("/api/health").json() == expected


def test_models_are_described_without_long_lists(client, reader):
    answer = client.get("/api/models").json()

    assert TypeAdapter(schema.Models).validate_python(answer, strict=True) == answer
    assert answer["id"] == reader.models.id
    assert "normal_scores" not in answer["cards"]["anomaly"]
    assert set(answer["cards"]["classifier"]["calibration"]) == {"method", "fitted_on", "fitted", "frequencies"}
    points = {
        name: {one: values["threshold"] for one, values in by_class.items()}
        for name, by_class in answer["operating_points"].items()
    }
    assert points == {name: reader.thresholds(name) for name in ("screening", "balanced", "specific")}
    assert set(answer["styles"]) == set(answer["scored"]) == set(reader.scored)


def test_reference_cases_have_coordinates(client, reader):
    answer = client.get("/api/references").json()

    assert TypeAdapter(schema.ReferenceCases).validate_python(answer, strict=True) == answer
    coordinates = np.frombuffer(base64.b64decode(answer["coordinates"]), "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(coordinates, reader.models.references.coordinates)
    assert len(answer["names"]) == len(answer["labels"]) == len(coordinates)
    assert set(answer["labels"]) <= set(answer["classes"])
    assert answer["has_images"] is False
    thumbnail = client.get("/api/references/0.png")
    assert thumbnail.status_code == 404
    assert "--references" in thumbnail.json()["error"]


def test_a_reference_case_is_shown_if_its_collection_is_available(serve_app, collection, reader):
    last = len(reader.models.references.names) - 1
    with serve_app(references_dir=collection) as address, httpx.Client(base_url=address, timeout=120) as client:
        assert client.get("/api/references").json()["has_images"] is True
        shown = client.get("/api/references/0.png")
        missing = client.get(f"/api/references/{last}.png")
        beyond = client.get(f"/api/references/{last + 1}.png")

    assert shown.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(shown.content)).size == (256, 128)
    assert missing.status_code == beyond.status_code == 404
    assert str(collection) not in missing.text


def test_phantoms_answer_what_their_captions_say(client):
    listed = client.get("/api/phantoms").json()

    assert TypeAdapter(list[schema.Phantom]).validate_python(listed, strict=True) == listed
    assert {phantom["label"] for phantom in listed} == {"normal", "pneumonia"}
    files = [(f"{phantom['name']}.png", client.get(phantom["url"]).content) for phantom in listed]
    assert [reading["decision"] for reading in read(client, *files)] == [phantom["label"] for phantom in listed]
    picture = Image.open(io.BytesIO(client.get(listed[0]["url"]).content))
    assert picture.size == (512, 512)
    assert "not a radiograph" in picture.info["Comment"]
    assert client.get("/api/phantoms/13.png").status_code == 404


def test_readings_are_in_order_and_equal_the_rows_of_the_reader(client, radiographs, reader):
    files = {"b.jpeg": radiographs["viral"], "a.jpeg": radiographs["normal"]}

    readings = read(client, *files.items())

    assert [reading["path"] for reading in readings] == list(files)
    for reading, file in zip(readings, files.values(), strict=True):
        image = decode_radiograph(file, size=reader.models.image_size)
        (own,) = reader.predict_decoded([image], [reading["path"]])
        columns = list_columns(reader.scored)
        assert {name: reading[name] for name in columns} == own.to_row()
        assert list(reading)[: len(columns)] == list(columns)
        assert reading["thresholds"] == reader.thresholds("balanced")
        assert "heatmaps" not in reading


def test_full_detail_adds_maps(client, radiographs, reader):
    (reading,) = read(client, ("image.jpeg", radiographs["normal"]), detail="full")

    assert reading["image"] is None
    if reading["decision"] == "rejected":
        assert "heatmaps" not in reading
        return
    heatmaps = reading["heatmaps"]
    maps = np.frombuffer(base64.b64decode(heatmaps["data"]), np.uint8).reshape(heatmaps["shape"])
    assert len(maps) == len(reader.models.classes)
    assert heatmaps["explained"] in reader.models.classes
    assert maps.max() in (0, 255)
    assert heatmaps["rows"]["step"] > 0
    assert reading["anomaly_map"]["shape"] == [192, 192]
    assert len(base64.b64decode(reading["anomaly_map"]["data"])) == 192 * 192
    assert reading["content"] == [0, 0, 1, 1]
    assert len(reading["position"]) == 2
    for neighbor in reading["neighbors"]:
        assert str(reader.models.references.names[neighbor["index"]]) == neighbor["name"]


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "BMP", "JPEG2000"])
def test_formats_that_browsers_do_not_show_are_converted(client, radiographs, encode, kind):
    file = encode(load_image(radiographs["normal"]), kind)
    (reading,) = read(client, ("image", file), detail="full")

    assert reading["error"] is None
    assert reading["image"].startswith("data:image/png;base64,")


def test_the_part_inside_of_uniform_bars_is_located(client, radiographs, encode):
    framed = np.pad(load_image(radiographs["normal"]), ((0, 0), (0, 60)))
    (reading,) = read(client, ("image.png", encode(framed)), detail="full")

    assert reading["decision"] == "rejected" or reading["content"] == [0, 0, round(340 / 400, 4), 1]


def test_a_reader_of_findings_without_optional_parts_answers(serve_app, findings_reader, radiographs):
    with serve_app(findings_reader) as address, httpx.Client(base_url=address, timeout=120) as client:
        (reading,) = read(client, ("image.jpeg", radiographs["normal"]), detail="full")
        page, models = client.get("/").text, client.get("/api/models").json()
        references = client.get("/api/references").json()

    assert reading["decision"] == "Mass <b>|edema"
    assert reading["thresholds"] == {"Mass <b>": 0.5, "edema": 0.5}
    assert (reading["in_distribution"], reading["anomaly_score"], reading["neighbors"]) == (None, None, [])
    assert reading["heatmaps"]["explained"] in findings_reader.scored
    assert not {"anomaly_map", "position"} & set(reading)
    assert models["cards"].keys() == {"classifier"}
    assert references["names"] == references["labels"] == []
    assert "Mass &lt;b&gt;" in page and "no training images" in page


@pytest.mark.parametrize("point", ["screening", "specific", "0.25"])
def test_an_operating_point_is_a_name_or_a_number(client, radiographs, reader, point):
    (reading,) = read(client, ("image.jpeg", radiographs["normal"]), operating_point=point)

    assert reading["operating_point"] == point
    assert reading["thresholds"] == reader.thresholds(point)


def test_an_unreadable_file_stops_no_other(client, radiographs):
    broken, intact = read(client, ("broken.jpeg", radiographs["normal"][:500]), ("intact.jpeg", radiographs["normal"]))

    assert broken["decision"] is None
    assert "damaged" in broken["error"]
    assert broken["summary"].startswith("The file could not be read as a radiograph: damaged")
    assert intact["error"] is None


def test_dicom_and_png_have_equal_readings(client, radiographs, encode, make_dicom):
    # Of the size that the models take, because 8-bit and other pixels are rounded differently where they are resized.
    pixels = load_image(radiographs["bacterial"], size=192)

    dicom, png = read(client, ("image.dcm", make_dicom(pixels)), ("image.png", encode(pixels)), detail="full")

    own = {"path": "", "image": None, "dicom": None, **dict.fromkeys(IDENTITY_COLUMNS)}
    assert {**dicom, **own} == {**png, **own}
    assert png["dicom"] is None
    shown = Image.open(io.BytesIO(base64.b64decode(dicom["image"].removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.asarray(shown), pixels)


def test_a_lateral_view_is_rejected_but_shown(client, radiographs, make_dicom):
    file = make_dicom(load_image(radiographs["normal"], size=192), ViewPosition="LL")

    (reading,) = read(client, ("image.dcm", file), detail="full")

    assert reading["decision"] == "rejected"
    assert reading["p_pneumonia"] is None
    assert "lateral" in reading["summary"]
    assert reading["image"].startswith("data:image/png;base64,")
    assert "heatmaps" not in reading


@pytest.mark.parametrize("deidentify", ["true", "false"])
def test_a_reading_is_exported_as_dicom(client, radiographs, make_dicom, deidentify):
    file = make_dicom(load_image(radiographs["bacterial"], size=192))
    answer = client.post("/api/dicom", files={"file": ("image.dcm", file)}, data={"deidentify": deidentify})

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert "image" not in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["heatmap.dcm", "report.dcm"]
        capture, report = (dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist())
    assert capture.SOPClassUID.name.startswith("Secondary Capture")
    assert report.Modality == "SR"
    for made in (capture, report):
        assert "research use only" in made.SeriesDescription.lower()
        assert (made.PatientID == "SAMPLE-1") is (deidentify == "false")


def test_a_radiograph_with_an_invalid_header_is_exported(client, radiographs, make_dicom):
    with quiet_pydicom():
        invalid = {"PatientSex": "U", "PatientBirthDate": "2024-02-03", "StudyInstanceUID": "1.2.03.4"}
        file = make_dicom(load_image(radiographs["bacterial"], size=192), **invalid)
    answer = client.post("/api/dicom", files={"file": ("image.dcm", file)})

    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive, quiet_pydicom():
        for name in archive.namelist():
            made = dcmread(io.BytesIO(archive.read(name)))
            assert (made.PatientSex, made.PatientBirthDate, made.StudyInstanceUID) == ("", "", "1.2.03.4")


@pytest.mark.parametrize(("content", "status"), [(None, 200), (b"no image", 400)])
def test_a_jpeg_is_exported_as_dicom_and_other_data_is_not(client, radiographs, content, status):
    answer = client.post("/api/dicom", files={"file": ("image.jpeg", content or radiographs["normal"])})

    assert answer.status_code == status
    assert status == 200 or "no image by its content" in answer.json()["error"]


def test_files_over_the_time_limit_have_an_error(radiographs, reader):
    uploads = [UploadFile(io.BytesIO(radiographs["normal"]), filename=name) for name in ("a.jpeg", "b.jpeg")]

    readings = read_uploads(reader, uploads, operating_point="balanced", full=False, seconds=-1)

    assert ["send fewer files" in reading["error"] for reading in readings] == [True, True]


@pytest.mark.parametrize(
    ("keywords", "status", "message"),
    [
        ({}, 415, "multipart/form-data"),
        ({"json": {"files": []}}, 415, "application/json"),
        ({"files": {"file": ("image.jpeg", b"x")}}, 400, "'files'"),
        ({"data": {"files": "image.jpeg"}, "files": {"": ("image.jpeg", b"x")}}, 400, "'files' contains text"),
        ({"files": {"files": ("image.jpeg", b"x")}, "data": {"operating_point": "sharp"}}, 400, "'sharp'"),
        ({"files": {"files": ("image.jpeg", b"x")}, "data": {"operating_point": "nan"}}, 400, "between 0 and 1"),
        ({"files": {"files": ("image.jpeg", b"x")}, "params": {"detail": "all"}}, 400, "'row' or 'full'"),
        ({"files": [("files", (f"{n}.jpeg", b"x")) for n in range(33)]}, 413, "Maximum number of files is 32"),
    ],
)
def test_an_invalid_request_is_answered_with_its_error(client, keywords, status, message):
    answer = client.post("/api/read", **keywords)

    assert answer.status_code == status, answer.text
    assert answer.json()["notice"] == RESEARCH_USE_ONLY
    assert message in answer.json()["error"]
