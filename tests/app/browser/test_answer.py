"""The app in a browser: adding images and showing predictions."""

import base64
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.inference.decision import DecisionRule
from pneumoscope.inference.reader import Reader

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytestmark = pytest.mark.integration
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 740}


def test_an_image_gets_its_reading(visit: Any, reader: Reader) -> None:
    page = visit.page
    expect(page.locator("#decision")).to_have_text(re.compile("^(Normal|Pneumonia|Uncertain)$"))
    expect(page.locator("#summary")).to_have_text(re.compile(r"^The model .+\s%.*\.$"))
    values = page.locator("#bars .value").all_inner_texts()
    assert len(values) == 4
    assert all(re.fullmatch(r"[<>]?\d+\s%\s\(\d+(\u2013\d+)?\s%\)", value) for value in values), values
    assert page.locator("#bars .whisker").count() == 4
    expect(page.locator("#bars .threshold-note")).to_have_text(re.compile(r"threshold \d+\s%"))
    ranked = re.compile(r"^(Not f|F)lagged: higher than (all|\d+\s% of) held-out normals")
    expect(page.locator("#anomaly")).to_have_text(ranked)
    expect(page.locator("#neighbors li")).to_have_count(5)
    shares = page.locator(".similarity").evaluate_all("bars => bars.map((bar) => bar.style.getPropertyValue('--to'))")
    assert sorted(map(float, shares), reverse=True) == [*map(float, shares)], "the nearest has the longest bar"
    expect(page.locator("#no-references")).to_contain_text("--references FOLDER")
    expect(page.locator(".notice")).to_be_in_viewport()
    assert visit.read_pixels()[..., :3].mean() > 20
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator(".notice")).to_be_in_viewport()


@pytest.mark.parametrize(("percentile", "share"), [(99.7, "99\u202f% of"), (100, "all")])
def test_percentile_100_means_all_normals(
    open_visit: Any, monkeypatch: pytest.MonkeyPatch, percentile: float, share: str
) -> None:
    ranked = {"anomaly_score": 1.0, "anomaly_percentile": percentile, "anomalous": True}
    monkeypatch.setattr(DecisionRule, "_rank", lambda rule, score: ranked)
    visit = open_visit("image-0.png")
    expect(visit.page.locator("#anomaly")).to_have_text(f"Flagged: higher than {share} held-out normals")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_images_are_dropped_or_pasted(open_visit: Any, folder: Path, way: str) -> None:
    page = open_visit().page
    image = base64.b64encode((folder / "image-3.png").read_bytes()).decode()
    page.evaluate(
        """([way, image]) => {
            const carried = new DataTransfer();
            const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
            for (const name of ["one.png", "two.png"]) carried.items.add(new File([bytes], name, {type: "image/png"}));
            const options = { bubbles: true, cancelable: true };
            document.querySelector("#drop").dispatchEvent(way === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: carried })
                : new ClipboardEvent("paste", { ...options, clipboardData: carried }));
        }""",
        [way, image],
    )
    expect(page.locator("#progress")).to_have_text("2 done")
    expect(page.locator("#case-name")).to_have_text("one.png")


def test_a_phantom_is_labeled(open_visit: Any) -> None:
    visit = open_visit()
    page = visit.page
    expect(page.locator("#phantoms button")).to_have_count(6)
    assert all(text.startswith("phantom: ") for text in page.locator("#phantoms button").all_inner_texts())
    page.locator("#phantoms button").nth(2).click()
    visit.wait()
    expect(page.locator("#phantom-tag")).to_have_text("phantom, not a radiograph")
    expect(page.locator("#reason")).to_contain_text("synthetic phantom")
    expect(page.locator("#case-name")).to_be_focused()
    page.locator("#clear").click()
    expect(page.locator("#intake")).to_be_visible()
    expect(page.locator("#choose")).to_be_focused()


def test_findings_are_shown_without_the_parts_that_are_missing(
    open_visit: Any, serve_app: Any, findings_reader: Reader
) -> None:
    with serve_app(findings_reader) as address:
        page = open_visit("image-0.png", address=address).page
        expect(page.locator("#decision")).to_have_text("Mass <b>, edema")
        expect(page.locator("#bars .value").first).to_contain_text("threshold 50")
        for hidden in ("#anomaly", "#in-distribution", "#map", "#similar", 'input[name="mode"][value="anomaly"]'):
            expect(page.locator(hidden)).to_be_hidden()
        expect(page.locator('input[name="point"]')).to_have_count(2)
        page.close()  # it would go on to ask the server for phantoms


@pytest.mark.parametrize("name", ["inverted.png", "rotated.png"])
def test_an_image_that_is_not_upright_is_rejected_without_scores(
    open_visit: Any, folder: Path, reader: Reader, name: str
) -> None:
    image = decode_radiograph(folder / name, size=reader.models.image_size)
    (reading,) = reader.predict_decoded([image], [name])
    visit = open_visit(name)
    page = visit.page
    expect(page.locator("#decision")).to_have_text("Rejected")
    expect(page.locator("#summary")).to_contain_text(reading.reason[1:])
    expect(page.locator("#verdict-kicker")).to_have_text("No prediction")
    for hidden in ("#scores", "#facts", "#similar", "#map", "#point"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator('input[name="mode"][value="heatmap"]')).to_be_disabled()
    expect(page.locator("#dicom")).to_be_disabled()
    assert visit.read_pixels()[..., :3].mean() > 20


def test_the_caution_on_the_labels_is_shown_only_with_their_group(
    open_visit: Any, folder: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reader.trust["label_trust"]:
        pytest.skip("the models have no audit of the labels")
    # The nearest reference cases of phantoms are normals, which makes decisions uncertain.
    monkeypatch.setattr(DecisionRule, "_compare_nearest", lambda *_: "")
    name, point = next(
        (path.name, point)
        for path, point in product(sorted(folder.glob("image-*.png")), ("0.1", "0.2", "0.4", "0.6"))
        if reader.predict(path, operating_point=point).decision == "pneumonia"
    )
    page = open_visit(name).page
    caution = page.locator("#label-trust")
    page.get_by_label("Custom", exact=True).check()
    page.locator("#custom-threshold").fill(point)
    page.locator("#custom-threshold").press("Tab")
    expect(page.locator("#decision")).to_have_text("Pneumonia")
    expect(caution).to_have_text(reader.trust["label_trust"])
    expect(caution).to_be_visible()
    page.locator("#custom-threshold").fill("0.99")
    page.locator("#custom-threshold").press("Tab")
    expect(page.locator("#decision")).to_have_text(re.compile("^(Normal|Uncertain)$"))
    expect(caution).to_be_hidden()


def test_the_operating_point_sets_the_threshold(visit: Any) -> None:
    page = visit.page
    page.get_by_label("Custom", exact=True).check()
    page.locator("#custom-threshold").fill("0.01")
    page.locator("#custom-threshold").press("Tab")
    expect(page.locator("#bars .threshold-note")).to_have_text(re.compile(r"threshold 1\s%"))
    expect(page.locator("#verdict-kicker")).to_have_text("Custom threshold 0.01")
    page.get_by_label("Screening").check()
    expect(page.locator("#verdict-kicker")).to_have_text("Screening operating point")


def test_a_specificity_without_an_interval_is_shown_without_one(open_visit: Any) -> None:
    def drop_interval(route: Any) -> None:
        models = route.fetch().json()
        for point in models["operating_points"].values():
            point["pneumonia"]["one_minus_specificity"] = {"value": 0.25, "low": None, "high": None, "n": 4}
        route.fulfill(json=models)

    page = open_visit("image-0.png", routes={"**/api/models": drop_interval}).page
    expect(page.locator("#point-note")).to_have_text(re.compile(r"specificity 75\s% \(n = 4\)\.$"))


@pytest.mark.parametrize(
    ("viewport", "dark"), [(WIDE, False), (WIDE, True), (NARROW, False)], ids=["light", "dark", "narrow"]
)
def test_axe_finds_nothing_serious(open_visit: Any, viewport: dict[str, int], dark: bool) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visit = open_visit(viewport=viewport, dark=dark)
    page = visit.page

    def check(state: str) -> None:
        violations = axe.run(page).response["violations"]
        serious = [
            (state, item["id"], [node["target"] for node in item["nodes"]])
            for item in violations
            if item["impact"] in ("serious", "critical")
        ]
        assert not serious
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} is wider than the screen"

    expect(page.locator("#phantoms button")).to_have_count(6)
    check("first screen")
    visit.pick("chest.dcm", "broken.jpeg", "inverted.png", "image-1.png")
    expect(page.locator("#progress")).to_have_text("4 done")
    page.keyboard.press("2")
    check("answer")
    page.locator("#rows .open").nth(2).click()
    visit.wait()
    check("rejection")
    page.locator("#help-open").click()
    check("help")


def test_the_theme_is_kept(open_visit: Any) -> None:
    page = open_visit().page
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    assert page.evaluate("Object.keys(localStorage)") == ["pneumoscope-theme"]
    for expected in (light, light, dark):  # light, as the system, dark
        page.locator("#theme").click()
        assert page.evaluate(paper) == expected
