"""The app in a browser: many images, and exports."""

import csv
import io
import json
import re
import zipfile
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.integration


def test_a_work_list_shows_errors_and_rejections(open_visit: Any) -> None:
    names = [f"image-{number}.png" for number in range(9)]
    names[4:4] = ["broken.jpeg", "inverted.png"]
    page = open_visit(*names).page
    expect(page.locator("#progress")).to_have_text("11 done")
    rows = page.locator("#rows tbody tr")
    assert [row.split("\n")[0].split("\t")[0] for row in page.locator("#rows .open").all_inner_texts()] == names
    expect(rows.nth(4)).to_contain_text("Error: ")
    expect(rows.nth(5)).to_contain_text("Rejected: ")
    expect(rows.nth(6)).to_contain_text(re.compile(r"\d+\s%"))
    page.get_by_role("button", name="Prob.").click()
    expect(page.locator('th[data-sort="probability"]')).to_have_attribute("aria-sort", "descending")
    shares = [text for text in page.locator("#rows td:nth-child(3)").all_inner_texts() if text]
    values = [float(re.sub(r"[^\d]", "", text)) for text in shares]
    assert len(values) == 9
    assert values == sorted(values, reverse=True)
    assert set(page.locator("#rows .open").all_inner_texts()[-2:]) == {"broken.jpeg", "inverted.png"}


def test_keys_step_through_the_work_list(open_visit: Any) -> None:
    visit = open_visit(*(f"image-{number}.png" for number in range(4)))
    page = visit.page
    expect(page.locator("#progress")).to_have_text("4 done")
    name, current = page.locator("#case-name"), page.locator('#rows [aria-current="true"]')
    for key, expected in (("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        expect(name).to_have_text(f"image-{expected}.png")
        expect(current).to_have_text(f"image-{expected}.png")
    visit.wait()
    current.focus()
    page.keyboard.press("ArrowDown")
    expect(name).to_have_text("image-2.png")
    expect(current).to_be_focused()
    expect(page.locator("#place")).to_have_text("3 of 4")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Enable single-letter keys").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("j")
    expect(name).to_have_text("image-2.png")


def test_readings_are_exported(open_visit: Any) -> None:
    names = ["image-0.png", "broken.jpeg"]
    visit = open_visit(*names)
    expect(visit.page.locator("#progress")).to_have_text("2 done")
    rows = list(csv.DictReader(io.StringIO(visit.download("#csv").decode())))
    assert list(rows[0])[:4] == ["path", "error", "decision", "operating_point"]
    assert list(rows[0])[-4:] == ["model", "review", "review_label", "review_note"] and len(rows[0]) == 40
    assert [row["path"] for row in rows] == names
    assert len(json.loads(rows[0]["neighbors"])) == 5
    saved = json.loads(visit.download("#json"))
    assert saved["notice"].startswith("Research use only")
    assert [reading["path"] for reading in saved["readings"]] == names
    assert "image" not in saved["readings"][0]
    assert zipfile.ZipFile(io.BytesIO(visit.download("#dicom"))).namelist()


def test_an_export_waits_for_images_in_work(open_visit: Any) -> None:
    names = [f"image-{number}.png" for number in range(9)]
    visit = open_visit(*names)
    page = visit.page
    page.get_by_label("Screening").check()
    rows = list(csv.DictReader(io.StringIO(visit.download("#csv").decode())))
    assert [row["path"] for row in rows] == names
    assert {row["operating_point"] for row in rows} == {"screening"}
    assert all(row["decision"] and not row["error"] for row in rows)


def test_another_operating_point_needs_no_inference(open_visit: Any) -> None:
    names = [f"image-{number}.png" for number in range(9)]
    visit = open_visit(*names)
    page = visit.page
    expect(page.locator("#progress")).to_have_text("9 done")
    before = [row["decision"] for row in json.loads(visit.download("#json"))["readings"]]
    page.route("**/api/read*", lambda route: route.abort())
    page.get_by_label("Custom", exact=True).check()
    page.locator("#custom-threshold").fill("0.01")
    page.locator("#custom-threshold").press("Tab")
    readings = json.loads(visit.download("#json"))["readings"]
    assert {reading["operating_point"] for reading in readings} == {"0.01"}
    assert {reading["thresholds"]["pneumonia"] for reading in readings} == {0.01}
    assert "normal" in before
    assert "normal" not in [reading["decision"] for reading in readings]


def test_an_export_without_a_server_names_what_is_missing(open_visit: Any) -> None:
    names = [f"image-{number}.png" for number in range(3)]
    visit = open_visit(*names, may_fail=True, routes={"**/api/read*": lambda route: route.abort()})
    expect(visit.page.get_by_role("alert")).to_contain_text("does not respond")
    rows = list(csv.DictReader(io.StringIO(visit.download("#csv").decode())))
    assert [row["path"] for row in rows] == names
    assert all(row["error"] for row in rows)
    expect(visit.page.get_by_role("alert")).to_contain_text("no prediction for 2 of 3 images")


def test_a_review_is_exported_and_kept_without_the_name(open_visit: Any) -> None:
    names = ["image-0.png", "image-1.png", "inverted.png"]
    visit = open_visit(*names)
    page = visit.page
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.accept()))
    expect(page.locator("#progress")).to_have_text("3 done")
    page.keyboard.press("a")
    expect(page.locator("#accept")).to_have_attribute("aria-pressed", "true")
    page.locator("#note").fill("=clear")
    page.locator("#next").click()
    visit.wait()
    page.locator("#correct").select_option("viral")
    first, second, third = csv.DictReader(io.StringIO(visit.download("#csv").decode()))
    assert (first["review"], first["review_label"], first["review_note"]) == ("accepted", first["decision"], "'=clear")
    assert (second["review"], second["review_label"]) == ("corrected", "viral")
    assert third["review"] == ""

    page.locator("#filter").select_option("Corrected")
    assert page.locator("#rows .open").all_inner_texts() == ["image-1.png"]
    page.locator("#filter").select_option("Rejected")
    assert page.locator("#rows .open").all_inner_texts() == ["inverted.png"]
    stored = page.evaluate("JSON.stringify(localStorage)")
    assert "image" not in stored
    assert len(re.findall(r"[0-9a-f]{64}", stored)) == 2

    page.reload()
    assert dialogs == []
    visit.pick(*names)
    page.locator("#filter").select_option("Reviewed")
    expect(page.locator("#rows .open")).to_have_text(names[:2])
    expect(page.locator("#note")).to_have_value("=clear")
    page.reload()
    assert dialogs == ["beforeunload"]


def test_one_page_is_printed(open_visit: Any) -> None:
    page = open_visit("image-0.png", dark=True).page
    page.evaluate("window.print = () => { document.title = 'printed'; }")
    page.locator("#print").click()
    expect(page).to_have_title("printed")
    pages = re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))
    assert len(pages) == 1
    page.emulate_media(media="print")
    expect(page.locator(".sheet-notice")).to_be_visible()
    expect(page.locator(".sheet canvas")).to_have_count(2)
    expect(page.locator("#workspace")).to_be_hidden()


def test_the_print_of_the_browser_is_not_blank(open_visit: Any) -> None:
    visit = open_visit()
    page = visit.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#intake")).to_be_visible()
    for name, decision in (("image-0.png", r"\w+"), ("inverted.png", "Rejected"), ("broken.jpeg", "Unreadable")):
        visit.page.locator("#picker").set_input_files(str(visit.folder / name))
        expect(page.locator("#case-name")).to_have_text(name)
        page.wait_for_selector('#answer[aria-busy="false"]', state="attached")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        expect(page.locator(".sheet-decision")).to_have_text(re.compile(decision))
        expect(page.locator(".sheet-decision")).to_be_visible()


def test_a_file_name_is_shown_as_text(open_visit: Any) -> None:
    hostile = "<img src=x onerror=alert(1)>.png"
    page = open_visit(hostile, "image-1.png").page
    expect(page.locator("#progress")).to_have_text("2 done")
    expect(page.locator("#case-name")).to_have_text(hostile)
    assert page.locator("#workspace h1 img, #rows img").count() == 0


def test_without_a_server_there_is_a_message_and_another_try(open_visit: Any) -> None:
    names = [f"image-{number}.png" for number in range(3)]
    page = open_visit(*names, may_fail=True, routes={"**/api/read*": lambda route: route.abort()}).page
    expect(page.get_by_role("alert")).to_contain_text("does not respond")
    page.unroute("**/api/read*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#progress")).to_have_text("3 done")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#decision")).not_to_have_text("Unreadable")
