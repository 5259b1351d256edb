"""The pages, and the server from its start to its end."""

import html
import re
import sys
from pathlib import Path

import httpx
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.app.server import bind_port, build_app, serve
from pneumoscope.errors import PneumoscopeError
from pneumoscope.pacs.spool import Spool
from pneumoscope.report.templates import read_scripts


def test_a_taken_port_is_replaced_by_the_next_free_one():
    with bind_port(0) as taken:
        port = taken.getsockname()[1]
        with bind_port(port) as free:
            assert free.getsockname() == ("127.0.0.1", free.getsockname()[1])
            assert port < free.getsockname()[1] < port + 20


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_an_error(port):
    with pytest.raises(PneumoscopeError, match="expected 1 to 65535"):
        bind_port(port)


@pytest.mark.parametrize("keyword", ["study_dir", "references_dir", "spool_dir"])
def test_a_missing_folder_is_an_error_at_the_start(reader, tmp_path, keyword):
    with pytest.raises(PneumoscopeError, match="is not a folder"):
        build_app(reader, **{keyword: tmp_path / "nothing"})


def test_another_port_is_announced(monkeypatch, reader):
    monkeypatch.setattr("pneumoscope.inference.reader.Reader.open", lambda models_dir, **options: reader)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    lines = []
    with bind_port(0) as taken:
        port = taken.getsockname()[1]
        serve(port=port, open_browser=False, announce=lines.append)

    assert lines[0].startswith(f"Port {port} is taken")
    assert RESEARCH_USE_ONLY in lines


def test_static_files_are_those_of_the_package(client):
    static = Path(sys.modules["pneumoscope.app.server"].__file__).parent / "static"

    for path in static.iterdir():
        assert client.get(f"/static/{path.name}").content == path.read_bytes()
    assert client.get("/static/map.js").text == read_scripts()["map.js"]
    assert client.get("/static/").status_code == 404


@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_pages_have_the_notice_and_load_nothing_from_other_hosts(client, path):
    page = client.get(path)

    assert page.headers["content-type"].startswith("text/html")
    assert page.status_code == (404 if path == "/nowhere" else 200)
    assert RESEARCH_USE_ONLY in page.text
    links = re.findall(r"""(?:src|href|action)=["']([^"']+)""", page.text)
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)


@pytest.mark.parametrize("trust", ["", "Not reliable everywhere."])
def test_trust_in_the_labels_is_shown_if_it_was_measured(serve_app, reader, monkeypatch, trust):
    monkeypatch.setitem(reader.trust, "label_trust", trust)
    with serve_app() as address:
        page = httpx.get(address).text

    assert ('id="label-trust"' in page) == bool(trust)
    assert trust in page


def test_the_false_positive_rate_of_the_anomaly_flag_is_stated(client, reader):
    rate = reader.models.cards.anomaly.metrics["test"]["false_positive_rate_quantile"]
    page = html.unescape(client.get("/").text)

    assert f'id="flag-trust">{reader.trust["flag_trust"]}<' in page
    assert f"measured {100 * rate.value:.0f} %" in page


def test_the_training_population_is_stated(client, reader):
    assert f"Training population: {reader.models.cards.classifier.population}." in html.unescape(client.get("/").text)


def test_without_a_study_its_page_shows_the_command(client):
    page = client.get("/study")

    assert page.status_code == 404
    assert "pneumoscope app --model" in page.text
    assert 'href="/study"' not in client.get("/").text


def test_every_route_is_described(client):
    openapi = client.get("/api/openapi.json").json()
    paths = openapi["paths"]
    read = paths["/api/read"]["post"]

    assert openapi["info"]["description"] == RESEARCH_USE_ONLY
    assert {"/api/health", "/api/models", "/api/references", "/api/phantoms", "/api/read", "/api/dicom"} <= set(paths)
    assert all(operation["summary"] for operations in paths.values() for operation in operations.values())
    form = read["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"files", "operating_point"}
    assert [parameter["name"] for parameter in read["parameters"]] == ["detail"]
    assert read["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Readings")
    assert "HTTPValidationError" not in openapi["components"]["schemas"]


def test_the_state_of_a_spool_is_shown(reader, tmp_path, serve_app):
    spool = Spool(tmp_path)
    with spool.open():
        for uid in ("1.2.3", "1.2.4", "1.2.5"):
            spool.add(uid, b"")
        spool.finish(spool.find_next(), "sent")
        spool.set_aside(spool.find_next(), "damaged DICOM file")
        spool.note_problem("PACS at 127.0.0.1:104 cannot be reached")
    with serve_app(spool_dir=tmp_path) as address:
        page = httpx.get(f"{address}/spool").text
        assert 'href="/spool" aria-current="page"' in page
        for text in (
            "1 waiting",
            "1 finished",
            "1 unreadable",
            "1.2.3</td><td>sent",
            "1.2.4</td><td>damaged DICOM file",
        ):
            assert text in page
        assert "Results are not delivered: PACS at 127.0.0.1:104 cannot be reached" in page
    with serve_app() as address:
        assert httpx.get(f"{address}/spool").status_code == 404
        assert "/spool" not in httpx.get(address).text
