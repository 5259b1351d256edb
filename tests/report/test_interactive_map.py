import base64
import io
import json
import re
import shutil
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.results import EmbeddingMap
from pneumoscope.report.figures import palette
from pneumoscope.report.interactive_map import THUMBNAIL_SIDE, THUMBNAILS_ACROSS, write_map_data, write_thumbnails

MARGIN = 36  # of map.js


def make_map(dataset, count=70):
    names = np.array([*dataset.table["name"][:count], "new </script>.png"], dtype=str)
    return EmbeddingMap(
        coordinates=np.random.default_rng(0).normal(size=(count + 1, 2)).astype(np.float32),
        labels=np.array([*dataset.labels()[:count], -1]),
        origins=np.array([*["train"] * (count - 1), "test", "new"]),
        names=names,
        classes=KERMANY_LABELS.classes,
        trustworthiness=0.9,
        nearest=np.full((count + 1, 3), -1),
    )


def test_every_image_has_its_thumbnail(phantoms):
    embedding_map = make_map(phantoms)
    points = json.loads(write_map_data(embedding_map, phantoms))
    thumbnails = json.loads(write_thumbnails(phantoms))

    sprite = Image.open(io.BytesIO(base64.b64decode(thumbnails["address"].partition(",")[2])))
    down, across = divmod(69, THUMBNAILS_ACROSS)
    box = np.array([across, down, across + 1, down + 1]) * THUMBNAIL_SIDE
    small = Image.fromarray(phantoms.images[69]).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    assert np.abs(np.asarray(sprite.crop(box.tolist()), float) - np.asarray(small, float)).mean() < 8
    assert points["thumbnails"] == [*range(70), None]
    assert (thumbnails["side"], thumbnails["across"]) == (THUMBNAIL_SIDE, THUMBNAILS_ACROSS)
    assert points["emphasized"] == [False] * 69 + [True, True]
    assert np.allclose(points["coordinates"], embedding_map.coordinates, rtol=1e-4)
    assert points["labels"][0] in KERMANY_LABELS.classes
    assert points["labels"][-1] is None
    assert points["nearest"][0] == []


def test_a_name_cannot_end_the_script(phantoms):
    data = write_map_data(make_map(phantoms), None)

    assert "</script>" not in data
    assert json.loads(data)["names"][-1] == "new </script>.png"
    assert json.loads(data)["thumbnails"] == [None] * 71


def test_every_marker_has_its_shape():
    styles = palette.class_style([str(number) for number in range(20)], "0").values()
    script = files("pneumoscope.report").joinpath("map.js").read_text()
    shapes = set(re.findall(r'(?:SHAPES\.|[ {,"])(\w|\^)"?(?::| =) ', script))

    assert {marker for _, marker in (*styles, palette.UNKNOWN_STYLE)} <= shapes


PAGE = """<!doctype html><body style="margin:0;width:600px"><style>%s</style><div class="interactive-map" hidden>
<canvas class="map-canvas" tabindex="0" style="height:400px"></canvas>
<fieldset class="map-filters"></fieldset><input class="map-search"><ol class="map-list"></ol>
<p class="map-hint"></p><div class="map-card"></div>
<script type="application/json">%s</script></div><script type="application/json" id="map-thumbnails">%s</script>
<script type="module">%s</script></body>"""


@pytest.mark.integration
def test_images_are_found_by_pointing_by_a_loop_and_by_name(phantoms, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    read = files("pneumoscope.report").joinpath
    data = write_map_data(make_map(phantoms), phantoms)
    parts = read("report.css").read_text(), data, write_thumbnails(phantoms), read("map.js").read_text()
    (tmp_path / "map.html").write_text(PAGE % parts)

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page, errors = browser.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "map.html").as_uri())
        box = page.locator(".map-canvas").bounding_box()
        points = json.loads(data)
        coordinates = np.array(points["coordinates"])
        low, high = coordinates.min(axis=0), coordinates.max(axis=0)
        side = min(box["width"], box["height"]) - 2 * MARGIN
        x, y = side * (coordinates[5] - (low + high) / 2) / (high - low).max()
        place = box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 - y
        page.mouse.move(*place)
        assert page.locator(".map-card p").first.inner_text().startswith(points["names"][5])
        assert "image/jpeg" in page.locator(".map-card .map-thumbnail").first.get_attribute("style")
        assert page.locator(".map-filters canvas.map-mark").count() == len(points["classes"]) + 1
        page.locator(".map-canvas").focus()
        page.keyboard.press("+")
        page.mouse.move(*place)
        page.keyboard.press("0")
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        for right, down in ((1, 0), (1, 1), (0, 1), (0, 0)):
            page.mouse.move(box["x"] + 5 + right * (box["width"] - 10), box["y"] + 5 + down * (box["height"] - 10))
        page.mouse.up()
        assert page.locator(".map-list li").count() == len(points["names"])
        page.locator(".map-search").fill("class unknown")
        page.keyboard.press("Tab")
        assert page.locator(".map-list li").count() == 1
        assert "class unknown" in page.locator(".map-card").inner_text()
        browser.close()
    assert errors == []
