import base64
import io
import json
import shutil
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from pneumoscope.report.living_map import THUMBNAIL_SIDE, THUMBNAILS_ACROSS, write_map_data
from pneumoscope.results import THREE_CLASSES, EmbeddingMap


def make_map(dataset, count=70):
    names = np.array([*dataset.table["name"][:count], "new </script>.png"], dtype=str)
    return EmbeddingMap(
        coordinates=np.random.default_rng(0).normal(size=(count + 1, 2)).astype(np.float32),
        labels=np.array([*dataset.labels(THREE_CLASSES)[:count], -1]),
        origins=np.array([*["train"] * (count - 1), "test", "new"]),
        names=names,
        classes=THREE_CLASSES,
        trustworthiness=0.9,
        nearest=np.full((count + 1, 3), -1),
    )


def test_every_film_stands_where_the_script_looks_for_it(phantoms):
    data = write_map_data(make_map(phantoms), phantoms)

    told = json.loads(data)
    sprite = Image.open(io.BytesIO(base64.b64decode(told["sprite"].partition(",")[2])))
    down, across = divmod(69, THUMBNAILS_ACROSS)
    box = np.array([across, down, across + 1, down + 1]) * THUMBNAIL_SIDE
    small = Image.fromarray(phantoms.images[69]).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    assert np.abs(np.asarray(sprite.crop(box.tolist()), float) - np.asarray(small, float)).mean() < 8
    assert told["origins"][-2:] == [1, 2]
    assert (min(told["x"]), max(told["y"])) == (0, 1)
    assert told["nearest"][0] == []


def test_a_name_cannot_end_the_script(phantoms):
    data = write_map_data(make_map(phantoms), None)

    assert "</script>" not in data
    assert json.loads(data)["names"][-1] == "new </script>.png"
    assert json.loads(data)["sprite"] is None


PAGE = """<!doctype html><body style="margin:0;width:600px"><style>%s</style><div class="living-map" hidden>
<p class="map-hint"></p><canvas style="height:400px"></canvas><div class="map-card"></div>
<input class="map-search"><ol class="map-list"></ol>
<script type="application/json">%s</script></div><script>%s</script></body>"""


def test_films_are_found_by_pointing_by_a_loop_and_by_name(phantoms, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    read = files("pneumoscope.report").joinpath
    data = write_map_data(make_map(phantoms), phantoms)
    (tmp_path / "map.html").write_text(PAGE % (read("report.css").read_text(), data, read("map.js").read_text()))

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page, errors = browser.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "map.html").as_uri())
        box = page.locator("canvas").bounding_box()
        told = json.loads(data)
        x, y = 12 + (box["width"] - 24) * told["x"][5], 12 + (box["height"] - 24) * (1 - told["y"][5])
        page.mouse.move(box["x"] + x, box["y"] + y)
        assert page.locator(".map-card p").first.inner_text().startswith(told["names"][5])
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        for right, down in ((1, 0), (1, 1), (0, 1), (0, 0)):
            page.mouse.move(box["x"] + 5 + right * (box["width"] - 10), box["y"] + 5 + down * (box["height"] - 10))
        page.mouse.up()
        assert page.locator(".map-list li").count() == len(told["names"])
        page.locator(".map-search").fill("class not known")
        page.keyboard.press("Tab")
        assert page.locator(".map-list li").count() == 1
        assert "class not known" in page.locator(".map-card").inner_text()
        browser.close()
    assert errors == []
