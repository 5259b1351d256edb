"""What the server answers to those who mean well."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app import schema
from pneumoscope.app.answers import write_sentence
from pneumoscope.app.docs_page import list_routes
from pneumoscope.app.limits import Limits
from pneumoscope.app.pictures import draw_picture, measure_image
from pneumoscope.app.server import bind_port, build_app, serve
from pneumoscope.errors import PneumoscopeError
from pneumoscope.radiographs.image import load_image
from pneumoscope.reading.reading import Reading

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
    assert set(found["cards"]["classifier"]["calibration"]) == set(reader.models.cards["classifier"]["calibration"]) - {
        "resampled"
    }
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
    from pneumoscope.reading.decode import decode_radiograph

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
    for name in ("error_map", "reconstruction"):
        assert reading[name]["shape"] == [128, 128]
        assert len(base64.b64decode(reading[name]["data"])) == 128 * 128
    assert reading["error_map"]["scale"] > 0
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


def test_the_size_and_the_picture_are_those_of_the_upright_film():
    lying = Image.fromarray(np.arange(20 * 40, dtype=np.uint8).reshape(20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    lying.save(stream, format="JPEG", exif=exif)

    assert measure_image(stream.getvalue()) == (40, 20)
    assert load_image(stream.getvalue()).shape == (40, 20)
    assert draw_picture(stream.getvalue()) is None


def test_a_picture_is_made_of_what_browsers_cannot_show():
    deep = np.linspace(0, 65535, 2100 * 20).reshape(20, 2100).astype(np.uint16)

    shown = draw_picture(as_png(deep))

    assert shown is not None
    image = Image.open(io.BytesIO(base64.b64decode(shown.removeprefix("data:image/png;base64,"))))
    assert (image.mode, image.width) == ("L", 2048)
    assert draw_picture(as_png((deep >> 8).astype(np.uint8))) is None


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


def test_what_is_over_the_time_of_a_request_says_so(open_room, films):
    with open_room(limits=Limits(read_seconds=-1)) as address, httpx.Client(base_url=address) as client:
        answer = send(client, ("film.jpeg", films["normal"]))

    # With no time at all the client is told so for the whole request, or for each of its files.
    assert answer.status_code in (200, 503)
    assert "over" in answer.text


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
        ({"files": [("files", (f"{n}.jpeg", b"x")) for n in range(33)]}, 413, "32 or fewer"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(client, keywords, status, told):
    answer = client.post("/api/read", **keywords)

    assert answer.status_code == status, answer.text
    assert answer.json()["notice"] == RESEARCH_USE_ONLY
    assert told in answer.json()["error"]


@pytest.mark.parametrize("path", ["/", "/docs", "/nowhere"])
def test_pages_carry_the_notice_and_load_nothing_from_elsewhere(client, path):
    page = client.get(path)

    assert page.headers["content-type"].startswith("text/html")
    assert page.status_code == (404 if path == "/nowhere" else 200)
    assert RESEARCH_USE_ONLY in page.text
    links = re.findall(r"""(?:src|href|action)=["']([^"']+)""", page.text)
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)


def test_without_a_study_its_page_says_how_to_open_one(client):
    page = client.get("/study")

    assert page.status_code == 404
    assert "pneumoscope app --study" in page.text
    assert 'href="/study"' not in client.get("/").text


def test_every_route_is_described(client):
    openapi = client.get("/openapi.json").json()
    page = client.get("/docs").text

    routes = {route.path: route for route in list_routes(openapi)}
    assert {"/api/health", "/api/models", "/api/known", "/api/phantoms", "/api/read", "/api/dicom"} <= set(routes)
    assert all(route.summary and path in page for path, route in routes.items())
    assert {name for name, _, _ in routes["/api/read"].inputs} == {"detail", "files", "operating_point"}
    assert ("200", "Successful Response", "Readings") in routes["/api/read"].outputs


def test_every_answer_carries_the_headers_that_keep_it_at_home(client, films):
    answers = [
        *(client.get(path) for path in ("/", "/docs", "/nowhere", "/api/health", "/api/nothing", "/static/app.css")),
        send(client, ("film.jpeg", films["normal"])),
        client.post("/api/read"),
        client.put("/api/read"),
        client.get("/api/health", headers={"host": "elsewhere.example"}),
    ]

    for answer in answers:
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert answer.headers["cache-control"] == ("no-cache" if "/static/" in str(answer.url) else "no-store")
        assert "server" not in answer.headers


def reading_of(decision, p_bacterial=0.0, p_viral=0.0, *, width=0.03, reason=""):
    sick = p_bacterial + p_viral
    shares = {"normal": 1 - sick, "bacterial": p_bacterial, "viral": p_viral, "pneumonia": sick}
    intervals = {name: (max(share - width, 0), min(share + width, 1)) for name, share in shares.items()}
    found = {"probabilities": shares, "intervals": intervals} if decision != "refused" else {}
    return Reading("film.jpeg", "balanced", "0.1.0", decision=decision, reason=reason, in_domain=not reason, **found)


@pytest.mark.parametrize(
    ("reading", "sentence"),
    [
        (
            reading_of("pneumonia", 0.7, 0.2),
            "The models see signs of pneumonia, more likely bacterial than viral (probability 90 %, 87 to 93 %).",
        ),
        (
            reading_of("pneumonia", 0.2, 0.799, width=0.01),
            "The models see signs of pneumonia, more likely viral than bacterial (probability over 99 %, 99 to 100 %).",
        ),
        (
            reading_of("pneumonia", 0.48, 0.42),
            "The models see signs of pneumonia, about as likely bacterial as viral (probability 90 %, 87 to 93 %).",
        ),
        (
            reading_of("normal", 0.02, 0.02),
            "The models see no signs of pneumonia (probability of pneumonia 4 %, 1 to 7 %).",
        ),
        (
            reading_of("normal", 0.02, 0.02, width=0.001, reason="The film looks unlike those of the training."),
            "The models see no signs of pneumonia (probability of pneumonia 4 %), "
            "but the film looks unlike those of the training.",
        ),
        (
            reading_of(
                "not sure", 0.3, 0.2, reason="The film looks odd. Most of the nearest known images are normals."
            ),
            "The models are not sure about this image (probability of pneumonia 50 %, 47 to 53 %): "
            "the film looks odd; most of the nearest known images are normals.",
        ),
        (
            reading_of("refused", reason="The film looks upside down."),
            "The models give no answer for this image: the film looks upside down.",
        ),
        (
            Reading("film.jpeg", "balanced", "0.1.0", error="12 x 12 pixels; expected sides of 16 or more"),
            "This file could not be read as a radiograph: 12 x 12 pixels; expected sides of 16 or more.",
        ),
        (
            Reading("film.jpeg", "balanced", "0.1.0", error="DICOM cut off: its compressed pixels have no end"),
            "This file could not be read as a radiograph: DICOM cut off: its compressed pixels have no end.",
        ),
    ],
)
def test_a_reading_is_one_sentence(reading, sentence):
    assert write_sentence(reading) == sentence


def test_a_port_that_is_taken_gives_way_to_the_next_free_one():
    with bind_port(0) as taken:
        port = taken.getsockname()[1]
        with bind_port(port) as free:
            assert free.getsockname() == ("127.0.0.1", free.getsockname()[1])
            assert port < free.getsockname()[1] < port + 20


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_beyond_the_range_is_refused(port):
    with pytest.raises(PneumoscopeError, match="expected 1 to 65535"):
        bind_port(port)


@pytest.mark.parametrize("keyword", ["study_dir", "data_dir"])
def test_a_folder_that_is_missing_is_told_before_the_server_starts(reader, tmp_path, keyword):
    with pytest.raises(PneumoscopeError, match="is no folder"):
        build_app(reader, **{keyword: tmp_path / "nothing"})


def test_serving_says_where_and_ends_quietly(tmp_path):
    code = (
        "import os, sys; from pneumoscope.app.server import serve; serve(os.environ.get('PNEUMOSCOPE_MODELS'), port=0)"
    )
    screenless = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=screenless,
    )
    with process:
        told = [process.stdout.readline().strip() for _ in range(3)]
        address = re.fullmatch(r"Reading room: (http://127\.0\.0\.1:\d+/)", told[0])
        assert address, (told, process.stderr.read())
        health = httpx.get(f"{address[1]}api/health", timeout=60)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)

    assert told[1] == RESEARCH_USE_ONLY
    assert health.json()["status"] == "ok"
    assert (process.returncode, rest, errors) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_user_is_told_where_another_port_was_taken(monkeypatch, reader):
    monkeypatch.setattr("pneumoscope.reading.reader.Reader.open", lambda models_dir: reader)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    told = []
    with bind_port(0) as taken:
        port = taken.getsockname()[1]
        serve(port=port, open_browser=False, announce=told.append)

    assert told[0].startswith(f"Port {port} is taken")
    assert RESEARCH_USE_ONLY in told


def test_the_openapi_document_is_plain_json(client):
    assert json.loads(client.get("/openapi.json").content)["info"]["description"] == RESEARCH_USE_ONLY


def test_nothing_but_the_package_is_served_as_static(client):
    static = Path(sys.modules["pneumoscope.app.server"].__file__).parent / "static"

    for path in static.iterdir():
        assert client.get(f"/static/{path.name}").content == path.read_bytes()
    assert client.get("/static/").status_code == 404
