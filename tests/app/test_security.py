"""Which requests are allowed, and the headers of every response."""

import logging

import httpx
import pytest

from pneumoscope.app.security import find_rejection


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({}, True),
        ({"host": "localhost:8427"}, True),
        ({"host": "LOCALHOST"}, True),
        ({"host": "[::1]:8427"}, True),
        ({"host": "rebound.example"}, False),
        ({"host": "127.0.0.1.example"}, False),
        ({"host": "localhost.example:8427"}, False),
        ({"host": "evil@127.0.0.1"}, False),
        ({"host": "127.0.0.1:8427:80"}, False),
        ({"host": "0.0.0.0:8427"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"host": "localhost:8427", "origin": "http://localhost:8427"}, True),
        ({"host": "localhost:8427", "origin": "https://localhost:8427"}, False),
        ({"host": "localhost:8427", "origin": "http://127.0.0.1:8427"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
    ],
)
def test_only_this_machine_and_its_own_page_may_send_files(client, radiographs, headers, served):
    answer = client.post("/api/read", files={"files": ("image.jpeg", radiographs["normal"])}, headers=headers)

    assert answer.status_code == (200 if served else 403), answer.text


def test_a_link_of_another_site_may_open_the_page_but_not_embed_it():
    link = {"host": "127.0.0.1", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    embedded = {**link, "sec-fetch-mode": "no-cors"}

    assert find_rejection("GET", "http", httpx.Headers(link)) == ""
    assert "another site" in find_rejection("GET", "http", httpx.Headers(embedded))
    assert "another host" in find_rejection("GET", "http", httpx.Headers({}))


def test_an_internal_error_shows_no_file_name_to_client_or_log(serve_app, reader, radiographs, caplog, monkeypatch):
    def fail(images, paths, *options):
        raise RuntimeError(f"cannot read {paths}")

    monkeypatch.setattr(reader, "predict_decoded", fail)
    with (
        caplog.at_level(logging.DEBUG),
        serve_app() as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        answer = client.post("/api/read", files={"files": ("Doe_Jane.jpeg", radiographs["normal"])})
        health = client.get("/api/health")

    assert answer.status_code == 500
    assert "Doe" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "Doe" not in caplog.text
    assert "RuntimeError at test_security.py:" in caplog.text
    assert health.status_code == 200


def test_every_answer_has_the_security_headers(client, radiographs):
    answers = [
        *(client.get(path) for path in ("/", "/nowhere", "/api/health", "/api/nothing", "/static/app.css")),
        client.post("/api/read", files={"files": ("image.jpeg", radiographs["normal"])}),
        client.post("/api/read"),
        client.put("/api/read"),
        client.options("/api/read", headers={"origin": "http://evil.example", "access-control-request-method": "POST"}),
        client.get("/api/health", headers={"host": "elsewhere.example"}),
    ]

    for answer in answers:
        headers = answer.headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in headers)
        assert headers["cache-control"] == ("no-cache" if "/static/" in str(answer.url) else "no-store")
        assert "server" not in headers
