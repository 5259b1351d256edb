"""What the server answers to those who mean ill, or whose programs are broken; it must be well afterwards."""

import io
import json
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from pneumoscope.errors import ImageError

pytestmark = pytest.mark.usefixtures("stays_well")

BOUNDARY = b"films"
KIND = {"content-type": "multipart/form-data; boundary=films"}


def part(name, content, file_name=None, kind=b"image/jpeg"):
    """Return one part of a multipart body, boundary before it included."""
    named = b"" if file_name is None else b'; filename="%s"' % file_name
    head = b'Content-Disposition: form-data; name="%s"%s\r\nContent-Type: %s\r\n\r\n' % (name, named, kind)
    return b"--" + BOUNDARY + b"\r\n" + head + content + b"\r\n"


def body_of(*parts):
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def post(client, content, **headers):
    return client.post("/api/read", content=content, headers={**KIND, **headers})


def read_one(client, content, file_name=b"film.jpeg", kind=b"image/jpeg", detail="row"):
    answer = client.post(
        "/api/read", params={"detail": detail}, content=body_of(part(b"files", content, file_name, kind)), headers=KIND
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()["readings"][0]


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


def compress_zeros(size):
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../../../../etc/passwd",
            "/etc/passwd",
            "..\\..\\windows\\system.ini",
            "films/../../x.jpeg",
            "~/.ssh/id_rsa",
        ),
        *("<script>alert(1)</script>.jpeg", "a'b;rm -rf.jpeg", "\u202egnp.exe", "film\t.jpeg", "x" * 2000, "."),
    ],
)
def test_a_name_is_a_name_and_never_a_path(client, films, name):
    reading = read_one(client, films["normal"], name.encode())

    assert reading["path"] == name
    assert reading["error"] is None


def test_a_name_that_is_no_text_is_answered_all_the_same(client, films):
    assert read_one(client, films["normal"], b"\xff\xfe\xed\xa0\x80.jpeg")["error"] is None


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static/..%5cserver.py"),
        *(
            "/static/....//server.py",
            "/static/%252e%252e%252fserver.py",
            "/static//etc/passwd",
            "/static/%2fetc%2fpasswd",
        ),
        *("/static/css/../../server.py", "/static/%00", "/static/app.css%00.py", "/static/%c0%ae%c0%ae/server.py"),
        *("/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/known/..%2f..%2fx.png", "//etc/passwd"),
        *("/static/..;/server.py", "/static/\\..\\server.py", "/static/" + "a" * 5000, "/templates/room.html.j2"),
        *("/study/report", "/study/..%2freport", "/api/phantoms/-1.png", "/api/phantoms/1e9.png", "/api/phantoms/.png"),
    ],
)
def test_no_path_leads_out_of_what_is_served(room, talk, path):
    answer = talk(room, b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())

    assert status_of(answer) in (400, 404)
    assert b"root:" not in answer
    assert b"import" not in answer


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "..\\secret.png", "a/../../secret.png", "", "C:x"])
def test_a_known_name_that_leads_out_of_the_collection_shows_nothing(tmp_path, name):
    from pneumoscope.app.pictures import draw_thumbnail

    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(tmp_path / "secret.png")
    (tmp_path / "collection").mkdir()
    with pytest.raises(ImageError):
        draw_thumbnail(tmp_path / "collection", name)


def make_bomb(kind):
    if kind == "declared":
        return png_of(60_000, 60_000, png_chunk(b"IDAT", zlib.compress(bytes(1000))))
    if kind == "packed":
        return png_of(12_000, 10_000, png_chunk(b"IDAT", compress_zeros(120 << 20)))
    if kind == "more than declared":
        return png_of(40, 40, png_chunk(b"IDAT", compress_zeros(100 << 20)))
    if kind == "text":
        text = png_chunk(b"zTXt", b"Comment\0\0" + compress_zeros(80 << 20))
        return png_of(40, 40, text, png_chunk(b"IDAT", zlib.compress(bytes(41 * 40))))
    if kind == "configuration":
        configuration = png_chunk(b"iCCP", b"Configuration\0\0" + compress_zeros(80 << 20))
        return png_of(40, 40, configuration, png_chunk(b"IDAT", zlib.compress(bytes(41 * 40))))
    if kind == "jpeg":
        stream = io.BytesIO()
        Image.new("L", (16, 16)).save(stream, format="JPEG")
        data = stream.getvalue()
        start = data.index(b"\xff\xc0") + 5
        return data[:start] + struct.pack(">HH", 65_000, 65_000) + data[start + 4 :]
    stream = io.BytesIO()
    frames = [Image.new("L", (64, 64), level) for level in range(50)]
    frames[0].save(stream, format="PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


@pytest.mark.parametrize(
    "kind", ["declared", "packed", "more than declared", "text", "configuration", "jpeg", "animation"]
)
def test_a_bomb_is_a_reading_with_its_error(client, kind):
    bomb = make_bomb(kind)
    assert len(bomb) < 1 << 20

    started = time.monotonic()
    reading = read_one(client, bomb)

    assert reading["error"]
    assert reading["decision"] is None
    assert time.monotonic() - started < 30


def test_a_deflated_dicom_bomb_is_a_reading_with_its_error(client):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = "1.2.3"
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    packer = zlib.compressobj(1, wbits=-15)
    start = stream.getvalue()[: stream.getvalue().index(b"1.2.840.10008.1.2.1.99") + 22]
    bomb = start + b"".join(packer.compress(bytes(1 << 20)) for _ in range(150)) + packer.flush()

    assert read_one(client, bomb, b"film.dcm")["error"]


def make_polyglot(kind, film):
    if kind == "jpeg and zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("../SMUGGLED.py", "import os")
        return film + stream.getvalue()
    if kind == "jpeg and html":
        comment = b"<html><script>SMUGGLED()</script>"
        return film[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + film[2:]
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "<?php SMUGGLED(); ?>")
    stream = io.BytesIO()
    Image.open(io.BytesIO(film)).convert("RGBA").save(stream, format="PNG", pnginfo=text)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["jpeg and zip", "jpeg and html", "png and php"])
def test_a_polyglot_is_read_as_a_picture_and_gives_nothing_of_the_rest_back(client, films, kind):
    reading = read_one(client, make_polyglot(kind, films["normal"]), detail="full")

    assert reading["error"] is None
    assert "SMUGGLED" not in json.dumps(reading)
    # What has an alpha channel is drawn anew, as the models see it.
    assert (reading["picture"] is not None) is (kind == "png and php")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"\xff\xd8\xff\xe0" + bytes(1000),
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        bytes(128) + b"DICM" + bytes(1000),
        bytes(128) + b"DICM" + b"\xff" * 1000,
        b"\x7fELF" + bytes(100),
    ],
)
def test_what_is_no_radiograph_is_a_reading_with_its_error_whatever_it_says_of_itself(client, content):
    reading = read_one(client, content, b"film.jpeg", b"image/jpeg")

    assert reading["error"]
    assert reading["sentence"].startswith("This file could not be read as a radiograph:")


@pytest.mark.parametrize("kind", [b"text/html", b"application/x-sh", b"\xff\xff", b"image/png; charset=../../x"])
def test_the_type_that_a_part_claims_counts_for_nothing(client, films, kind):
    assert read_one(client, films["normal"], b"film.exe", kind)["error"] is None


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b"garbage", {}, 400),
        (b"\0" * 10_000, {}, 400),
        (body_of(), {}, 400),
        (body_of(part(b"operating_point", b"balanced")), {}, 400),
        (body_of(part(b"files", b"", b"")), {}, 400),
        (body_of(part(b"files", b"text, no file")), {}, 400),
        (body_of(part(b"other", b"x", b"film.jpeg")), {}, 400),
        (body_of(part(b"files", b"x", b"film.jpeg"))[:-8], {}, 400),
        (body_of(part(b"files", b"x", b"film.jpeg"), part(b"files", b"x", b"film.jpeg"))[:-8], {}, 400),
        (body_of(part(b"files", b"x", b"film.jpeg")).replace(b"--films", b"--other"), {}, 400),
        (b"--films\r\nContent-Type: image/jpeg\r\n\r\nx\r\n--films--\r\n", {}, 400),
        (b"--films\r\nContent-Disposition: form-data\r\n\r\nx\r\n--films--\r\n", {}, 400),
        (b"--films\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\nx\r\n--films--\r\n", {}, 400),
        (b"--films\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n--films--\r\n", {}, 400),
        (body_of(*(part(b"field", b"x") for _ in range(100))), {}, 413),
        (body_of(part(b"operating_point", b"9" * 100_000)), {}, 413),
        (body_of(*(part(b"files", b"x", b"film.jpeg") for _ in range(33))), {}, 413),
        (b"x", {"content-type": "multipart/form-data"}, 400),
        (b"x", {"content-type": "multipart/form-data; boundary="}, 400),
        (b"x", {"content-type": "multipart/form-data; boundary=" + "b" * 5000}, 400),
        (b"x", {"content-type": "multipart/mixed; boundary=films"}, 415),
        (body_of(part(b"files", b"x", b"a.jpeg")), {"content-type": KIND["content-type"] + "; charset=undefined"}, 400),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"files=x", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"x", {"content-type": "\x7f/\x7f"}, 415),
    ],
)
def test_a_broken_body_is_answered_with_what_is_wrong(client, content, headers, status):
    answer = post(client, content, **headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), cut=st.integers(0, 60), noise=st.binary(max_size=60), point=st.binary(max_size=30))
def test_a_body_that_was_tampered_with_never_fails_the_server(client, place, cut, noise, point):
    sound = body_of(part(b"operating_point", point), part(b"files", b"\xff\xd8 no film", b"film.jpeg"))

    answer = post(client, sound[:place] + noise + sound[place + cut :])

    assert answer.status_code in (200, 400, 413)
    assert set(answer.json()) >= {"notice"}


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /api/read HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(room, talk, data):
    try:
        answer = talk(room, data)
    except ConnectionError:
        return  # closed while more was on its way
    assert answer == b"" or 400 <= status_of(answer) < 500


def test_an_upgrade_to_a_web_socket_is_not_taken(room, talk):
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

    answer = talk(room, head + key)

    assert status_of(answer) == 200
