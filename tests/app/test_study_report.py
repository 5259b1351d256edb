"""The report of a study in the app."""

import base64
import hashlib
import os
import re
from pathlib import Path

import httpx
import pytest

from pneumoscope.app import study_report
from pneumoscope.app.server import build_app
from pneumoscope.errors import PneumoscopeError


def hash_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_names_exactly_the_scripts_and_the_style_of_the_report(serve_app, finished_study):
    with serve_app(study_dir=finished_study) as address:
        answer = httpx.get(f"{address}/study")

    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    scripts = re.findall(r'<script type="module">(.*?)</script>', answer.text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert answer.content == (finished_study / "report.html").read_bytes()
    assert len(scripts) == 2
    assert set(policy["script-src"].split()) == set(map(hash_of, scripts))
    assert policy["style-src"] == hash_of(style)
    assert (policy["default-src"], policy["img-src"]) == ("'none'", "data:")
    assert "allow-same-origin" not in policy["sandbox"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text('<script type="module">alert(1)</script>'), "another version of Pneumoscope; "),
        (lambda path: path.write_text("<SCRIPT>alert(1)</SCRIPT>"), "another version of Pneumoscope; "),
        (lambda path: path.write_bytes(bytes(100)), "is larger than "),
        (lambda path: None, "has no report.html; "),
        (Path.mkdir, "has no report.html; "),
        (os.mkfifo, "has no report.html; "),
        (lambda path: path.symlink_to("../secret.html"), "has no report.html; "),
    ],
)
def test_an_unusable_report_is_an_error_at_the_start(reader, tmp_path, monkeypatch, write, message):
    monkeypatch.setattr(study_report, "MAX_REPORT_BYTES", 99)
    (tmp_path / "secret.html").write_text("secret")
    (tmp_path / "study").mkdir()
    write(tmp_path / "study" / "report.html")

    with pytest.raises(PneumoscopeError, match=f"{message}.* `pneumoscope study --resume --out "):
        build_app(reader, study_dir=tmp_path / "study")


@pytest.mark.integration
def test_the_report_works_under_its_policy(chromium, serve_app, finished_study):
    messages = []
    with serve_app(study_dir=finished_study) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda sent: sent.url.startswith((address, "data:")) or messages.append(sent.url))
        page.goto(f"{address}/study")
        assert page.locator(".interactive-map .map-filters input").count() > 0
        pressed = page.locator('.points [aria-pressed="true"]')
        # Operating points with the same threshold are all pressed.
        assert pressed.first.get_attribute("value") == "balanced"
        rows = dict.fromkeys(("Sensitivity", "Specificity"))
        page.locator(".field").fill("0")
        page.keyboard.press("Tab")
        for name in rows:
            rows[name] = page.locator(".explorer tbody tr", has_text=name).inner_text().split("\t")[1:]
        note = page.locator(".explorer .note").inner_text()
        still_pressed = pressed.count()
        context.close()

    assert all(cell.startswith("100.0%") for cell in rows["Sensitivity"])
    assert all(cell.startswith("0.0%") for cell in rows["Specificity"])
    assert "do not report" in note
    assert still_pressed == 0
    assert messages == []


def test_a_report_that_was_removed_is_a_message(serve_app, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>A report</p>")
    with serve_app(study_dir=tmp_path) as address:
        served = httpx.get(f"{address}/study")
        report.unlink()
        missing = httpx.get(f"{address}/study")

    assert (served.status_code, missing.status_code) == (200, 404)
    assert "has no report.html" in missing.text
    assert "pneumoscope study --resume" in missing.text


def test_other_files_of_the_folder_are_not_served(serve_app, tmp_path):
    for name in ("report.html", "results.json"):
        (tmp_path / name).write_text("secret")
    with serve_app(study_dir=tmp_path) as address:
        for path in ("report", "report.html", "results.json", "..%2fresults.json"):
            answer = httpx.get(f"{address}/study/{path}")
            assert answer.status_code == 404
            assert "secret" not in answer.text
