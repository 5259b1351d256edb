"""The pages, and the server from the command to its end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.app.server import bind_port, build_app, serve
from pneumoscope.errors import PneumoscopeError
from pneumoscope.report.templates import read_scripts


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
    monkeypatch.setattr("pneumoscope.inference.reader.Reader.open", lambda models_dir: reader)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    told = []
    with bind_port(0) as taken:
        port = taken.getsockname()[1]
        serve(port=port, open_browser=False, announce=told.append)

    assert told[0].startswith(f"Port {port} is taken")
    assert RESEARCH_USE_ONLY in told


def test_nothing_but_the_package_is_served_as_static(client):
    static = Path(sys.modules["pneumoscope.app.server"].__file__).parent / "static"

    for path in static.iterdir():
        assert client.get(f"/static/{path.name}").content == path.read_bytes()
    assert client.get("/static/map.js").text == read_scripts()["map.js"]
    assert client.get("/static/").status_code == 404


@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_pages_carry_the_notice_and_load_nothing_from_elsewhere(client, path):
    page = client.get(path)

    assert page.headers["content-type"].startswith("text/html")
    assert page.status_code == (404 if path == "/nowhere" else 200)
    assert RESEARCH_USE_ONLY in page.text
    links = re.findall(r"""(?:src|href|action)=["']([^"']+)""", page.text)
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)


@pytest.mark.parametrize("trust", ["", "Not told alike everywhere."])
def test_how_far_to_trust_subtypes_is_said_where_that_was_measured(open_room, reader, monkeypatch, trust):
    monkeypatch.setitem(reader.trust, "subtype_trust", trust)
    with open_room() as address:
        page = httpx.get(address).text

    assert ('id="subtype-trust"' in page) == bool(trust)
    assert trust in page


def test_without_a_study_its_page_says_how_to_open_one(client):
    page = client.get("/study")

    assert page.status_code == 404
    assert "pneumoscope app --study" in page.text
    assert 'href="/study"' not in client.get("/").text


def test_every_route_is_described(client):
    openapi = client.get("/api/openapi.json").json()
    paths = openapi["paths"]
    read = paths["/api/read"]["post"]

    assert openapi["info"]["description"] == RESEARCH_USE_ONLY
    assert {"/api/health", "/api/models", "/api/known", "/api/phantoms", "/api/read", "/api/dicom"} <= set(paths)
    assert all(operation["summary"] for operations in paths.values() for operation in operations.values())
    form = read["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"files", "operating_point"}
    assert [parameter["name"] for parameter in read["parameters"]] == ["detail"]
    assert read["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Readings")
    assert "HTTPValidationError" not in openapi["components"]["schemas"]
