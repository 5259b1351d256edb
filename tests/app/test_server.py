"""What the server answers to those who mean well."""

import base64
import io
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from starlette.datastructures import UploadFile

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app import schema
from pneumoscope.app.api import read_uploads
from pneumoscope.data.image import load_image

COLUMNS = [
    *("path", "error", "decision", "operating_point", "p_normal", "p_bacterial", "p_viral", "p_pneumonia"),
    *("anomaly_score", "anomaly_percentile", "in_domain", "reason", "neighbors", "heatmap", "model"),
]


def send(client, *files, detail="row", **fields):
    """Send files, each a name and its bytes, and return the answer."""
    return client.post(
        "/api/read", params={"detail": detail}, data=fields, files=[("files", (name, data)) for name, data in files]
    )


def read(client, *files, **options):
    """Send files and return their readings."""
    answer = send(client, *files, **options)
    assert answer.status_code == 200, answer.text
    checked = TypeAdapter(schema.Readings).validate_python(answer.json(), strict=True)
    assert checked == answer.json()
    return checked["readings"]


def as_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def as_dicom(pixels, **elements):
    """Return a small digital X-ray as the bytes of a DICOM file."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = generate_uid()
    film.StudyInstanceUID, film.SeriesInstanceUID = generate_uid(), generate_uid()
    film.Modality, film.PatientName, film.PatientID = "DX", "Sample^Case", "SAMPLE-1"
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    film.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in elements.items():
        setattr(film, name, value)
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def pixels_of(film):
    # Of the size that the models take, because 8-bit and other pixels are rounded differently where they are resized.
    return np.rint(load_image(film, size=128) * 255).astype(np.uint8)


def test_health_says_what_runs(client, reader):
    assert client.get("/api/health").json() == {
        "status": "ok",
        "notice": RESEARCH_USE_ONLY,
        "version": __version__,
        "model": reader.models.id,
    }


def test_models_are_described_without_their_long_lists(client, reader):
    found = client.get("/api/models").json()

    assert TypeAdapter(schema.Models).validate_python(found, strict=True) == found
    assert found["id"] == reader.models.id
    assert "normal_scores" not in found["cards"]["anomaly"]
    assert set(found["cards"]["classifier"]["calibration"]) == {"method", "fitted_on", "fitted"}
    assert [layer["name"] for layer in found["layers"]] == list(reader.layers)
    assert all(len(layer["shape"]) == 2 and layer["rows"]["step"] > 0 for layer in found["layers"])
    assert {name: point["threshold"] for name, point in found["operating_points"].items()} == {
        name: reader.threshold(name) for name in ("screening", "balanced", "specific")
    }


def test_known_images_come_with_their_places_on_the_map(client, reader):
    found = client.get("/api/known").json()

    assert TypeAdapter(schema.Known).validate_python(found, strict=True) == found
    coordinates = np.frombuffer(base64.b64decode(found["coordinates"]), "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(coordinates, reader.models.known.coordinates)
    assert len(found["names"]) == len(found["labels"]) == len(coordinates)
    assert set(found["labels"]) <= set(found["classes"])
    assert found["pictures"] is False


def test_a_known_image_is_shown_where_its_collection_is_at_hand(open_room, collection, reader):
    last = len(reader.models.known.names) - 1
    with open_room(data_dir=collection) as address, httpx.Client(base_url=address, timeout=120) as client:
        assert client.get("/api/known").json()["pictures"] is True
        shown = client.get("/api/known/0.png")
        missing = client.get(f"/api/known/{last}.png")
        beyond = client.get(f"/api/known/{last + 1}.png")

    assert shown.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(shown.content)).size == (256, 128)
    assert missing.status_code == beyond.status_code == 404
    assert str(collection) not in missing.text


def test_without_a_collection_known_images_are_not_shown(client):
    answer = client.get("/api/known/0.png")

    assert answer.status_code == 404
    assert "--data" in answer.json()["error"]


def test_phantoms_are_two_of_each_class_and_say_that_they_are_drawn(client):
    listed = client.get("/api/phantoms").json()

    assert TypeAdapter(list[schema.Phantom]).validate_python(listed, strict=True) == listed
    assert [phantom["kind"] for phantom in listed] == ["normal"] * 2 + ["bacterial"] * 2 + ["viral"] * 2
    picture = Image.open(io.BytesIO(client.get(listed[0]["url"]).content))
    assert picture.size == (512, 512)
    assert "not a radiograph" in picture.info["Comment"]
    assert client.get("/api/phantoms/7.png").status_code == 404


def test_files_are_read_in_their_order_with_all_columns(client, films, reader):
    readings = read(client, ("b.jpeg", films["bacterial"]), ("a.jpeg", films["normal"]))

    assert [reading["path"] for reading in readings] == ["b.jpeg", "a.jpeg"]
    for reading in readings:
        assert list(reading)[:15] == COLUMNS
        assert reading["error"] is None
        assert reading["size"] == [300, 340]
        assert reading["threshold"] == reader.threshold("balanced")
        assert reading["model"] == reader.models.id
        assert "heatmaps" not in reading


def test_the_answer_is_the_readers_own(client, films, reader):
    from pneumoscope.inference.decode import decode_radiograph

    image, objections = decode_radiograph(films["viral"])
    (own,) = reader.read(image[None], ["film.jpeg"], objections=[objections])

    (reading,) = read(client, ("film.jpeg", films["viral"]))

    assert {name: reading[name] for name in COLUMNS} == own.to_row()


def test_with_detail_the_pictures_come_along(client, films, reader):
    (reading,) = read(client, ("film.jpeg", films["normal"]), detail="full")

    assert reading["picture"] is None
    if reading["decision"] == "refused":
        assert "heatmaps" not in reading
        return
    assert set(reading["heatmaps"]) == set(reader.layers)
    for heatmap in reading["heatmaps"].values():
        maps = np.frombuffer(base64.b64decode(heatmap["data"]), np.uint8).reshape(heatmap["shape"])
        assert len(maps) == len(reader.models.classes)
        assert maps.max() in (0, 255)
    assert reading["anomaly_map"]["shape"] == [128, 128]
    assert len(base64.b64decode(reading["anomaly_map"]["data"])) == 128 * 128
    assert len(reading["position"]) == 2
    for neighbor in reading["neighbors"]:
        assert str(reader.models.known.names[neighbor["index"]]) == neighbor["name"]


@pytest.mark.parametrize("point", ["screening", "specific", "0.25"])
def test_an_operating_point_is_a_name_or_a_number(client, films, reader, point):
    (reading,) = read(client, ("film.jpeg", films["normal"]), operating_point=point)

    assert reading["operating_point"] == point
    assert reading["threshold"] == reader.threshold(point)


def test_a_file_that_cannot_be_read_stops_no_other(client, films):
    broken, sound = read(client, ("broken.jpeg", films["normal"][:500]), ("sound.jpeg", films["normal"]))

    assert broken["decision"] is None
    assert "damaged" in broken["error"]
    assert broken["size"] is None
    assert broken["sentence"].startswith("This file could not be read as a radiograph: damaged")
    assert sound["error"] is None


def test_a_dicom_file_is_read_as_its_picture_is_and_shown_to_the_browser(client, films):
    pixels = pixels_of(films["bacterial"])

    dicom, png = read(client, ("film.dcm", as_dicom(pixels)), ("film.png", as_png(pixels)), detail="full")

    assert {**dicom, "path": "", "picture": None} == {**png, "path": "", "picture": None}
    shown = Image.open(io.BytesIO(base64.b64decode(dicom["picture"].removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.asarray(shown), pixels)


def test_a_lateral_view_is_refused_but_shown(client, films):
    film = as_dicom(pixels_of(films["normal"]), ViewPosition="LL")

    (reading,) = read(client, ("film.dcm", film), detail="full")

    assert reading["decision"] == "refused"
    assert reading["p_pneumonia"] is None
    assert "lateral" in reading["sentence"]
    assert reading["picture"].startswith("data:image/png;base64,")
    assert "heatmaps" not in reading


@pytest.mark.parametrize("deidentify", ["true", "false"])
def test_a_reading_is_taken_along_as_dicom(client, films, deidentify):
    from pydicom import dcmread

    film = as_dicom(pixels_of(films["bacterial"]))
    answer = client.post("/api/dicom", files={"file": ("film.dcm", film)}, data={"deidentify": deidentify})

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert "film" not in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["heatmap.dcm", "report.dcm"]
        capture, report = (dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist())
    assert capture.SOPClassUID.name.startswith("Secondary Capture")
    assert report.Modality == "SR"
    for made in (capture, report):
        assert "research use only" in made.SeriesDescription.lower()
        assert (made.PatientID == "SAMPLE-1") is (deidentify == "false")


def test_a_picture_without_a_header_is_taken_along_as_dicom_too(client, films):
    answer = client.post("/api/dicom", files={"file": ("film.jpeg", films["normal"])})

    assert answer.status_code == 200


def test_what_cannot_be_read_cannot_be_taken_along(client):
    answer = client.post("/api/dicom", files={"file": ("film.jpeg", b"no film")})

    assert answer.status_code == 400
    assert "neither JPEG nor PNG" in answer.json()["error"]


def test_files_that_are_left_when_the_time_is_over_say_so(films, reader):
    uploads = [UploadFile(io.BytesIO(films["normal"]), filename=name) for name in ("a.jpeg", "b.jpeg")]

    found = read_uploads(reader, uploads, operating_point="balanced", full=False, seconds=-1)

    assert ["send fewer files" in reading["error"] for reading in found] == [True, True]


@pytest.mark.parametrize(
    ("keywords", "status", "told"),
    [
        ({}, 415, "multipart/form-data"),
        ({"json": {"files": []}}, 415, "application/json"),
        ({"files": {"file": ("film.jpeg", b"x")}}, 400, "'files'"),
        ({"data": {"files": "film.jpeg"}, "files": {"": ("film.jpeg", b"x")}}, 400, "text in the field 'files'"),
        ({"files": {"files": ("film.jpeg", b"x")}, "data": {"operating_point": "sharp"}}, 400, "'sharp'"),
        ({"files": {"files": ("film.jpeg", b"x")}, "data": {"operating_point": "nan"}}, 400, "between 0 and 1"),
        ({"files": {"files": ("film.jpeg", b"x")}, "params": {"detail": "all"}}, 400, "'row' or 'full'"),
        ({"files": [("files", (f"{n}.jpeg", b"x")) for n in range(33)]}, 413, "Maximum number of files is 32"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(client, keywords, status, told):
    answer = client.post("/api/read", **keywords)

    assert answer.status_code == status, answer.text
    assert answer.json()["notice"] == RESEARCH_USE_ONLY
    assert told in answer.json()["error"]
