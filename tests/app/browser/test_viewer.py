"""The app in a browser: the viewer and the map."""

import re
from typing import Any

import numpy as np
import pytest

from pneumoscope.models.receptive_field import Field, upsample

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.integration


def differ(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


def test_overlays_change_the_radiograph(visit: Any) -> None:
    page = visit.page
    plain = visit.read_pixels()
    shown = {}
    for key, mode in (("2", "heatmap"), ("3", "anomaly")):
        page.keyboard.press(key)
        expect(page.locator(f'input[name="mode"][value="{mode}"]')).to_be_checked()
        shown[mode] = visit.read_pixels()
        assert differ(shown[mode], plain) > 0.3, mode
    page.keyboard.press("2")
    page.locator("#heatmap-class").select_option("normal")
    normal = visit.read_pixels()
    page.locator("#heatmap-class").select_option("viral")
    assert differ(normal, visit.read_pixels()) > 0.1
    page.locator("#opacity").fill("0")
    page.locator("#decision").hover()
    page.keyboard.press("1")
    assert differ(visit.read_pixels(), plain) == 0


def test_heatmaps_equal_those_of_the_reader(open_visit: Any) -> None:
    page = open_visit().page
    feature_map = np.random.default_rng(0).integers(0, 256, (12, 10), dtype=np.uint8)
    rows, columns = Field(-7, 10, 10), Field(3, 20, 11)
    values = page.evaluate(
        "async ([values, rows, columns]) => Array.from((await import('/static/render.js'))"
        ".upsample(new Uint8Array(values), { height: 12, width: 10 }, { rows, columns }, 128))",
        [feature_map.ravel().tolist(), vars(rows), vars(columns)],
    )
    expected = upsample(feature_map[None].astype(np.float32), rows, columns, (128, 128))[0]
    heatmap = np.array(values).reshape(128, 128)
    assert np.allclose(heatmap / heatmap.max(), expected, atol=1e-5)


def test_the_viewer_zooms_moves_windows_and_resets(open_visit: Any) -> None:
    visit = open_visit("deep.png")
    page = visit.page
    plain = visit.read_pixels()
    box = page.locator("#canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    readout = page.locator("#readout")
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    expect(readout).to_have_text(re.compile(r"1[2-9]\d\s%"))
    zoomed = visit.read_pixels()
    assert differ(zoomed, plain) > 1
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 40, steps=3)
    page.mouse.up()
    assert differ(visit.read_pixels(), zoomed) > 1
    page.mouse.down(button="right")
    page.mouse.move(middle[0] - 60, middle[1] - 20, steps=3)
    page.mouse.up(button="right")
    expect(readout).to_have_text(re.compile(r"width 1\d\d "))
    page.keyboard.press("i")
    expect(page.locator("#invert")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("s")
    expect(page.locator("#side")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("s")
    page.keyboard.press("0")
    page.locator("#decision").hover()
    expect(readout).to_have_text(re.compile(r"^level 128, width 255 · 100"))
    assert differ(visit.read_pixels(), plain) == 0
    page.locator("#canvas").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert differ(visit.read_pixels(), plain) > 1


def test_a_dicom_file_has_its_header_windows_and_ruler(open_visit: Any) -> None:
    visit = open_visit("chest.dcm")
    page = visit.page
    header, preset = page.locator("#patient"), page.locator("#preset")
    expect(header).to_contain_text("Sample, Case")
    expect(header).to_contain_text("4 years")
    page.keyboard.press("h")
    expect(header).to_be_hidden()
    expect(preset.locator("option")).to_have_text(["Custom", re.compile("^NORMAL"), "BONE", re.compile("Full range")])
    plain = visit.read_pixels()
    preset.select_option("BONE")
    assert differ(visit.read_pixels(), plain) > 5
    expect(page.locator("#readout")).to_contain_text("level 200, width 59 HU")
    page.locator("#reset").click()
    assert differ(visit.read_pixels(), plain) == 0
    page.keyboard.press("r")
    box = page.locator("#canvas").bounding_box()
    side = min(box["width"], box["height"])
    left, middle = box["x"] + (box["width"] - side) / 2, box["y"] + box["height"] / 2
    page.mouse.click(left + 0.25 * side, middle)
    page.mouse.click(left + 0.75 * side, middle)
    expect(page.locator("#measure")).to_have_text(re.compile(r"^6[34]\.\d mm \(at the detector\)$"))
    page.mouse.move(left + 0.5 * side, middle)
    expect(page.locator("#readout")).to_contain_text(re.compile(r"^value \d+ HU"))
    assert page.evaluate("Object.keys(localStorage)") == []


def test_the_ruler_works_with_keys_and_without_a_spacing(visit: Any) -> None:
    page = visit.page
    page.locator("#ruler").click()
    page.locator("#canvas").focus()
    for key in ("Enter", "+", "+", "+", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#measure")).to_have_text(re.compile(r"^[1-9]\d* pixels"))


def test_the_map_names_and_filters_reference_cases(visit: Any) -> None:
    page = visit.page
    canvas = page.locator(".map-canvas")
    canvas.scroll_into_view_if_needed()
    page.locator('[data-map="find"]').click()
    before = visit.read_pixels(".map-canvas")
    box = canvas.bounding_box()
    hint = page.locator(".map-hint")
    for step in range(40):  # the image is in the middle, reference cases are around it
        page.mouse.move(box["x"] + box["width"] / 2 + 4 * step, box["y"] + box["height"] / 2)
        if re.search(r", (normal|bacterial|viral)$", hint.inner_text()):
            break
    expect(hint).to_have_text(re.compile(r"\.\w+, (normal|bacterial|viral)$"))
    for name in ("normal", "bacterial", "viral"):
        page.locator(".map-filters").get_by_label(name).uncheck()
    page.locator("#decision").hover()
    assert differ(visit.read_pixels(".map-canvas"), before) > 0.01


def test_a_lasso_on_the_map_selects_the_cases_inside(open_visit: Any) -> None:
    page = open_visit("image-0.png", "image-1.png", "inverted.png").page
    expect(page.locator("#progress")).to_have_text("3 done")
    canvas = page.locator(".map-canvas")
    canvas.scroll_into_view_if_needed()
    page.locator('[data-map="loop"]').click()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.04)]
    places = [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()

    expect(page.locator(".map-list li")).to_have_count(101)
    expect(page.locator(".map-list li").last).to_have_text(re.compile(r"and \d+ more"))
    expect(page.locator("#filter")).to_have_value("In the lasso")
    expect(page.locator("#rows .open")).to_have_text(["image-0.png", "image-1.png"])
    page.locator('[data-map="+"]').click()
    expect(page.locator(".map-list")).to_be_hidden()
    expect(page.locator("#rows .open")).to_have_count(3)
