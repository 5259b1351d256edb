"""Answers to hostile and broken requests; the server must answer afterwards."""

import io
import json
import os
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pneumoscope.app.images import draw_thumbnail
from pneumoscope.errors import ImageError

pytestmark = pytest.mark.usefixtures("server_recovers")

BOUNDARY = b"form"
FORM = "multipart/form-data; boundary=form"
HEADERS = {"content-type": FORM}


def part(name, content, file_name=None, kind=b"image/jpeg"):
    """Return one part of a multipart body, boundary before it included."""
    named = b"" if file_name is None else b'; filename="%s"' % file_name
    head = b'Content-Disposition: form-data; name="%s"%s\r\nContent-Type: %s\r\n\r\n' % (name, named, kind)
    return b"--" + BOUNDARY + b"\r\n" + head + content + b"\r\n"


def body_of(*parts):
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read_one(client, content, file_name=b"image.jpeg", kind=b"image/jpeg", detail="row"):
    body = body_of(part(b"files", content, file_name, kind))
    answer = client.post("/api/read", params={"detail": detail}, content=body, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()["readings"][0]


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width, height, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


def compress_zeros(size, wbits=15):
    packer = zlib.compressobj(1, wbits=wbits)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


NAMES = """../../../../etc/passwd /etc/passwd ..\\..\\windows\\system.ini folder/../../x.jpeg ~/.ssh/id_rsa .
    \u202egnp.exe <script>alert(1)</script>.jpeg a'b;rm&-rf.jpeg"""
PATHS = """/static/../server.py /static/%2e%2e/server.py /static/..%2fserver.py /static/..%5cserver.py /static/%00
    /static/....//server.py /static/%252e%252e%252fserver.py /static//etc/passwd /static/%2fetc%2fpasswd //etc/passwd
    /static/css/../../server.py /static/app.css%00.py /static/%c0%ae%c0%ae/server.py /static/..;/server.py
    /../../../../etc/passwd /%2e%2e/%2e%2e/etc/passwd /api/references/..%2f..%2fx.png /static/\\..\\server.py
    /templates/index.html.j2 /study/report /study/..%2freport /api/phantoms/-1.png /api/phantoms/1e9.png
    /api/phantoms/.png"""


@pytest.mark.parametrize("name", [*NAMES.split(), "image\t.jpeg", "x" * 2000, b"\xff\xfe\xed\xa0\x80.jpeg"])
def test_a_name_is_a_name_and_never_a_path(client, radiographs, name):
    reading = read_one(client, radiographs["normal"], name.encode() if isinstance(name, str) else name)

    assert reading["path"] == name or isinstance(name, bytes)
    assert reading["error"] is None


@pytest.mark.parametrize("path", [*PATHS.split(), "/static/" + "a" * 5000])
def test_no_path_leads_out_of_the_served_files(app_url, send_bytes, path):
    answer = send_bytes(app_url, b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())

    assert status_of(answer) in (400, 404)
    assert b"root:" not in answer
    assert b"import" not in answer


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "..\\secret.png", "a/../../secret.png", "", "C:x"])
def test_a_reference_name_outside_the_collection_shows_nothing(tmp_path, name):
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(tmp_path / "secret.png")
    (tmp_path / "collection").mkdir()
    with pytest.raises(ImageError):
        draw_thumbnail(tmp_path / "collection", name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_among_the_references_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        draw_thumbnail(tmp_path, "pipe.png")


def make_dicom_bomb(make_dicom):
    data = make_dicom(np.eye(32, dtype=np.uint8), DeflatedExplicitVRLittleEndian)
    end_of_header = data.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    return data[:end_of_header] + compress_zeros(150 << 20, wbits=-15)


def make_profile_bomb(make_dicom):
    profile = png_chunk(b"iCCP", b"Profile\0\0" + compress_zeros(80 << 20))
    return make_png(40, 40, profile, png_chunk(b"IDAT", zlib.compress(bytes(41 * 40))))


# Other bombs are tested with the decoder.
BOMBS = {
    "packed": lambda make_dicom: make_png(12_000, 10_000, png_chunk(b"IDAT", compress_zeros(120 << 20))),
    "more than declared": lambda make_dicom: make_png(40, 40, png_chunk(b"IDAT", compress_zeros(100 << 20))),
    "color profile": make_profile_bomb,
    "deflated DICOM": make_dicom_bomb,
}


@pytest.mark.parametrize("make_bomb", BOMBS.values(), ids=BOMBS)
def test_a_decompression_bomb_is_a_reading_with_its_error(client, make_dicom, make_bomb):
    bomb = make_bomb(make_dicom)
    assert len(bomb) < 1 << 20

    started = time.monotonic()
    reading = read_one(client, bomb)

    assert reading["error"]
    assert reading["decision"] is None
    assert time.monotonic() - started < 30


def make_polyglot(kind, jpeg):
    if kind == "jpeg and zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("../SMUGGLED.py", "import os")
        return jpeg + stream.getvalue()
    if kind == "jpeg and html":
        comment = b"<html><script>SMUGGLED()</script>"
        return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + jpeg[2:]
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "<?php SMUGGLED(); ?>")
    stream = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).convert("RGBA").save(stream, format="PNG", pnginfo=text)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["jpeg and zip", "jpeg and html", "png and php"])
def test_a_polyglot_is_read_as_an_image_and_the_rest_is_not_returned(client, radiographs, kind):
    reading = read_one(client, make_polyglot(kind, radiographs["normal"]), detail="full")

    assert reading["error"] is None
    assert "SMUGGLED" not in json.dumps(reading)
    # An image with an alpha channel is sent back as the models see it.
    assert (reading["image"] is not None) is (kind == "png and php")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\0", b"GIF89a" + bytes(100), b"%PDF-1.7\n" + bytes(100), b"PK\x03\x04" + bytes(100)),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        *(b"\xff\xd8\xff\xe0" + bytes(1000), b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        *(bytes(128) + b"DICM" + bytes(1000), bytes(128) + b"DICM" + b"\xff" * 1000),
    ],
)
def test_a_file_that_is_no_image_is_a_reading_with_its_error(client, content):
    reading = read_one(client, content)

    assert reading["error"]
    assert reading["summary"].startswith("The file could not be read as a radiograph:")


@pytest.mark.parametrize("kind", [b"text/html", b"application/x-sh", b"\xff\xff", b"image/png; charset=../../x"])
def test_the_media_type_of_a_part_is_ignored(client, radiographs, kind):
    assert read_one(client, radiographs["normal"], b"image.exe", kind)["error"] is None


FILE = part(b"files", b"x", b"image.jpeg")
BROKEN = (
    *(b"", b"garbage", b"\0" * 10_000, body_of(), body_of(part(b"operating_point", b"balanced"))),
    *(body_of(part(b"files", b"", b"")), body_of(FILE)[:-8], body_of(FILE, FILE)[:-8]),
    body_of(FILE).replace(b"--form", b"--other"),
    b"--form\r\nContent-Type: image/jpeg\r\n\r\nx\r\n--form--\r\n",
    b"--form\r\nContent-Disposition: form-data\r\n\r\nx\r\n--form--\r\n",
    b"--form\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\nx\r\n--form--\r\n",
    b"--form\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n--form--\r\n",
)
TOO_LARGE = (body_of(*[part(b"f", b"x")] * 100), body_of(part(b"operating_point", b"9" * 100_000)))
UNUSABLE_TYPES = (
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 5000),
    "multipart/form-data; boundary=form; charset=undefined",
)
OTHER_TYPES = ("multipart/mixed; boundary=form", "application/x-www-form-urlencoded", "\x7f/\x7f")


@pytest.mark.parametrize(
    ("status", "body", "media_type"),
    [
        *((400, body, FORM) for body in BROKEN),
        *((413, body, FORM) for body in TOO_LARGE),
        *((400, body_of(FILE), media_type) for media_type in UNUSABLE_TYPES),
        *((415, body_of(FILE), media_type) for media_type in OTHER_TYPES),
    ],
)
def test_a_broken_body_or_another_media_type_is_answered_with_its_error(client, status, body, media_type):
    answer = client.post("/api/read", content=body, headers={"content-type": media_type})

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), cut=st.integers(0, 60), noise=st.binary(max_size=60), point=st.binary(max_size=30))
def test_a_changed_body_never_fails_the_server(client, place, cut, noise, point):
    body = body_of(part(b"operating_point", point), part(b"files", b"\xff\xd8 no image", b"image.jpeg"))

    answer = client.post("/api/read", content=body[:place] + noise + body[place + cut :], headers=HEADERS)

    assert answer.status_code in (200, 400, 413)
    assert set(answer.json()) >= {"notice"}


POST = b"POST /api/read HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "data",
    [
        *(b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)),
        *(b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n\r\n"),
        POST + b"Content-Length: -5\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        POST + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_data_that_is_no_http_is_rejected(app_url, send_bytes, data):
    try:
        answer = send_bytes(app_url, data)
    except ConnectionError:
        return  # closed while more was on its way
    assert answer == b"" or 400 <= status_of(answer) < 500


def test_an_upgrade_to_a_web_socket_is_ignored(app_url, send_bytes):
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

    answer = send_bytes(app_url, head + key)

    assert status_of(answer) == 200
