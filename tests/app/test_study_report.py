"""The report of a study as the app serves it."""

import base64
import hashlib
import os
import re

import httpx
import pytest

from pneumoscope.app import study_report


def hash_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def ask(open_room, folder, path="/study"):
    with open_room(study_dir=folder) as address:
        return httpx.get(address + path)


def read_policy(answer):
    directives = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: sources for name, _, sources in directives}


def test_the_policy_names_exactly_the_scripts_and_the_style_of_the_report(open_room, finished_study):
    answer = ask(open_room, finished_study)

    policy = read_policy(answer)
    scripts = re.findall(r'<script type="module">(.*?)</script>', answer.text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert answer.content == (finished_study / "report.html").read_bytes()
    assert len(scripts) == 2
    assert set(policy["script-src"].split()) == set(map(hash_of, scripts))
    assert policy["style-src"] == hash_of(style)
    assert (policy["default-src"], policy["img-src"]) == ("'none'", "data:")
    assert "allow-same-origin" not in policy["sandbox"]


def test_a_script_of_another_is_not_allowed(open_room, tmp_path):
    (tmp_path / "report.html").write_text("<style>p {}</style><script>alert(1)</script>")

    policy = read_policy(ask(open_room, tmp_path))

    assert hash_of("alert(1)") not in policy["script-src"]
    assert policy["style-src"] == hash_of("p {}")


def test_the_report_works_under_its_policy(chromium, open_room, finished_study):
    complaints = []
    with open_room(study_dir=finished_study) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((address, "data:")) or complaints.append(asked.url))
        page.goto(f"{address}/study")
        assert page.locator(".living-map .map-filters input").count() > 0
        pressed = page.locator('.points [aria-pressed="true"]')
        assert pressed.get_attribute("value") == "balanced"
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
    assert complaints == []


def make_nothing(folder, beside):
    pass


def make_folder(folder, beside):
    (folder / "report.html").mkdir()


def make_pipe(folder, beside):
    os.mkfifo(folder / "report.html")


def make_link_outside(folder, beside):
    (beside / "secret.html").write_text("secret")
    (folder / "report.html").symlink_to(beside / "secret.html")


@pytest.mark.parametrize("make", [make_nothing, make_folder, make_pipe, make_link_outside])
def test_a_study_without_a_report_is_one_clear_message(open_room, tmp_path, make):
    folder = tmp_path / "study"
    folder.mkdir()
    make(folder, tmp_path)

    answer = ask(open_room, folder)

    assert answer.status_code == 404
    assert "The study has no report.html yet" in answer.text
    assert "pneumoscope study --resume" in answer.text
    assert "secret" not in answer.text


def test_a_report_beyond_the_bound_is_not_served(open_room, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_bytes(b"x" * 100)
    monkeypatch.setattr(study_report, "MAX_REPORT_BYTES", 99)

    answer = ask(open_room, tmp_path)

    assert answer.status_code == 404
    assert "is larger than" in answer.text


@pytest.mark.parametrize(
    "path", ["/study/report", "/study/report.html", "/study/results.json", "/study/..%2fresults.json"]
)
def test_nothing_else_of_the_folder_is_served(open_room, tmp_path, path):
    for name in ("report.html", "results.json"):
        (tmp_path / name).write_text("secret")

    answer = ask(open_room, tmp_path, path)

    assert answer.status_code == 404
    assert "secret" not in answer.text
