"""The page of a study, used in a real browser: by pointer, by keyboard, on a wide, a narrow and a dark screen."""

import json
import re
import time

import numpy as np
import pytest

WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 780}
# What makes the page wider than the screen, by class; what scrolls within itself does not.
TOO_WIDE = """[...document.querySelectorAll("main, main *")]
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll"))
    .map((element) => element.getAttribute("class") ?? element.tagName)"""


def find_axe_faults(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [(fault["id"], [node["html"][:160] for node in fault["nodes"]]) for fault in found]


def wait_until(page, expression):
    """Wait until an expression is true; the page's policy forbids playwright's own way, which evaluates text."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def group_of(stages, name, split):
    evaluation = stages[name].evaluations[split]
    return evaluation.probabilities[:, 1:].astype(float).sum(axis=1), evaluation.labels > 0


def read_shares(page, split):
    titles = f"[...document.querySelectorAll('#{split}-figures th')].map((title) => title.innerText)"
    wait_until(page, f"{titles}.includes('Sensitivity') && {titles}.every(Boolean)")
    rows = page.locator(f"#{split}-figures tr")
    return {row.locator("th").inner_text(): row.inner_text().split() for row in rows.all()}


def expected_shares(scores, sick, threshold):
    called = scores >= threshold
    parts = {
        "Sensitivity": (called & sick, sick),
        "Specificity": (~called & ~sick, ~sick),
        "Accuracy": (called == sick, np.ones_like(sick)),
        "PPV": (called & sick, called),
        "NPV": (~called & ~sick, ~called),
    }
    return {name: (int(part.sum()), int(whole.sum())) for name, (part, whole) in parts.items()}


def check_shares(page, stages, name, threshold):
    for split in ("val", "test"):
        told = read_shares(page, split)
        for share, (part, whole) in expected_shares(*group_of(stages, name, split), threshold).items():
            words = told[share]
            assert words[-3:] == [str(part), "of", str(whole)]
            if whole:
                assert float(words[1].removesuffix("%")) == pytest.approx(100 * part / whole, abs=0.051)
            else:
                assert words[1] == "\N{EN DASH}"


def settle(page, threshold):
    # A pattern: a text is trimmed before it is looked for, and "Threshold 0." is also in "Threshold 0.05.".
    told = re.compile(rf"Threshold {re.escape(str(threshold))}\.\s")
    page.locator("#threshold-live", has_text=told).wait_for(state="attached")


def test_the_threshold_moves_every_figure_of_both_splits(show, study_room, study_parts):
    _, stages, _ = study_parts
    page = show(f"{study_room}/study")
    check_shares(page, stages, "best-binary", 0.5)
    dot = page.locator("#test-roc circle.point")
    before = dot.get_attribute("cy"), page.locator("#threshold-plot .cut").get_attribute("x1")

    for typed in (0.9, 0.05, 0.0, 1.0):
        page.locator("#threshold-number").fill(str(typed))
        settle(page, "0" if typed == 0 else "1" if typed == 1 else typed)
        check_shares(page, stages, "best-binary", typed)

    page.locator("#threshold-number").fill("0.98")
    settle(page, 0.98)
    assert (dot.get_attribute("cy"), page.locator("#threshold-plot .cut").get_attribute("x1")) != before
    assert "net=best-binary" in page.url and "threshold=0.98" in page.url


def test_the_slider_is_moved_with_keys_and_says_where_it_stands(show, study_room, study_parts):
    _, stages, _ = study_parts
    page = show(f"{study_room}/study")
    slider = page.locator("#threshold-slider")
    slider.focus()
    for _ in range(30):
        slider.press("ArrowRight")
    told = slider.get_attribute("aria-valuetext")
    settle(page, told)

    assert 0.5 < float(told) < 0.7
    check_shares(page, stages, "best-binary", float(page.locator("#threshold-number").input_value()))
    assert page.locator("#threshold-number").input_value().startswith(told[:4])


def test_intervals_drawn_in_the_page_are_near_the_study_s_own(show, study_room, study_parts):
    _, stages, _ = study_parts
    page = show(f"{study_room}/study")
    for split in ("val", "test"):
        told = read_shares(page, split)
        metrics = stages["best-binary"].evaluations[split].metrics
        for title, name in (
            ("Sensitivity", "recall_pneumonia"),
            ("Accuracy", "accuracy"),
            ("PPV", "precision_pneumonia"),
        ):
            low, high = (float(word.strip("[],")) for word in told[title][2:4])
            assert low == pytest.approx(100 * metrics[name].low, abs=5)
            assert high == pytest.approx(100 * metrics[name].high, abs=5)
        assert f"AUROC {metrics['auroc'].value:.3f}" in page.locator(f"#{split}-roc").get_attribute("aria-label")


def test_area_and_its_interval_agree_with_the_study_where_the_page_works_them_out(show, study_room, study_parts):
    _, stages, _ = study_parts
    page = show(f"{study_room}/study")
    evaluation = stages["best-binary"].evaluations["test"]
    scores, sick = group_of(stages, "best-binary", "test")
    patients = np.unique(evaluation.patients, return_inverse=True)[1]

    area, (low, high) = page.evaluate(
        """async (group) => {
            const counts = await import("/static/study.counts.js");
            return [counts.measureArea(group), new counts.Resampler(group).estimateArea()];
        }""",
        {"scores": scores.tolist(), "sick": sick.tolist(), "patients": patients.tolist()},
    )

    auroc = evaluation.metrics["auroc"]
    assert area == pytest.approx(auroc.value, abs=1e-9)
    assert (low, high) == pytest.approx((auroc.low, auroc.high), abs=0.03)


def test_a_threshold_is_chosen_on_the_curve_of_validation_only(show, study_room):
    page = show(f"{study_room}/study")
    number = page.locator("#threshold-number")
    page.locator("#test-roc").click(position={"x": 200, "y": 60})
    assert number.input_value() == "0.5"

    page.locator("#val-roc").click(position={"x": 200, "y": 60})

    assert number.input_value() != "0.5"
    page.locator("#threshold-presets button").first.click()
    assert number.input_value() == "0.5"
    assert page.locator("#threshold-presets button").first.get_attribute("aria-pressed") == "true"


def test_failures_are_shown_the_worst_first_and_follow_the_threshold(show, study_room, study_parts):
    _, stages, _ = study_parts
    scores, sick = group_of(stages, "best-binary", "test")
    names = stages["best-binary"].evaluations["test"].names
    page = show(f"{study_room}/study")

    for threshold in (0.5, 0.9):
        page.locator("#threshold-number").fill(str(threshold))
        settle(page, threshold)
        wrong = np.flatnonzero((scores >= threshold) != sick)
        worst = wrong[np.argsort(np.where(sick[wrong], scores[wrong], 1 - scores[wrong]), kind="stable")]
        assert page.locator("#failures-lead").inner_text().startswith(f"{len(wrong)} of {len(sick)} test images")
        told = [text.strip() for text in page.locator("#gallery .file").all_inner_texts()]
        assert told == [name.rpartition("/")[2].removesuffix(".jpeg") for name in names[worst][:12]]

    page.locator("#failures-kind").select_option("pneumonia-normal")
    missed = int((sick & (scores < 0.9)).sum())
    assert page.locator("#gallery li").count() == min(missed, 12)
    assert set(page.locator("#gallery .decision b").all_inner_texts()) == {"normal"}
    assert any("pneumonia (viral)" in text for text in page.locator("#gallery .truth").all_inner_texts())


def test_failures_have_their_pictures_and_a_viewer(show, study_room):
    page = show(f"{study_room}/study")
    first = page.locator("#gallery .card").first
    first.scroll_into_view_if_needed()
    wait_until(page, "document.querySelector('#gallery img').naturalWidth === 128")
    first.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")

    assert viewer.is_visible()
    name = page.locator("#viewer-name").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-name").inner_text() != name
    assert page.locator("#viewer-place").inner_text().startswith("2 of ")
    assert page.locator("#viewer-facts tbody tr").count() >= 2
    wait_until(page, "document.querySelector('#viewer img').naturalWidth === 128")
    assert find_axe_faults(page) == []
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    focused = page.evaluate("document.activeElement.closest('li')?.dataset.place")
    assert focused == "1"


def test_another_net_changes_the_whole_page(show, study_room, study_parts):
    _, stages, _ = study_parts
    page = show(f"{study_room}/study")
    page.get_by_role("group", name="1.B normal, bacterial or viral").get_by_label("best recipe").check()
    page.wait_for_url("**/study?net=best-three_class*")

    check_shares(page, stages, "best-three_class", 0.5)
    assert "p(bacterial) + p(viral)" in page.locator("#threshold-lead").inner_text()
    assert page.locator(".matrix").first.locator("thead th").all_inner_texts() == [
        "normal",
        "bacterial",
        "viral",
        "all",
    ]
    assert "1.B" in page.locator("#learning-lead").inner_text()


def test_a_cell_of_the_confusion_matrix_opens_its_images(show, study_room, study_parts):
    _, stages, _ = study_parts
    confusion = stages["best-three_class"].evaluations["test"].confusion
    page = show(f"{study_room}/study?net=best-three_class")
    truth, decision = next((int(t), int(d)) for t, d in np.argwhere(confusion > 0) if t != d)
    classes = ("normal", "bacterial", "viral")
    said = f"Show the {confusion[truth, decision]} test images of {classes[truth]} read as {classes[decision]}"

    page.get_by_role("button", name=said).click()

    assert page.locator("#gallery li").count() == min(confusion[truth, decision], 12)
    assert set(page.locator("#gallery .truth b").all_inner_texts()) == {classes[truth]}
    assert set(page.locator("#gallery .decision b").all_inner_texts()) == {classes[decision]}


def test_an_epoch_is_read_from_the_learning_curves(show, study_room, study_parts):
    _, stages, _ = study_parts
    curve = stages["best-binary"].curve
    page = show(f"{study_room}/study")
    assert page.locator("#epoch-reading").inner_text().startswith(f"Epoch {curve.chosen_epoch}:")

    page.locator("#epoch").fill("2")

    assert (
        f"loss {curve.loss[1]:.4f} in training, {curve.val_loss[1]:.4f}" in page.locator("#epoch-reading").inner_text()
    )


def test_the_anomaly_threshold_says_what_it_flags(show, study_room, study_parts):
    _, stages, _ = study_parts
    anomaly = stages["best-anomaly"]
    page = show(f"{study_room}/study")
    threshold = float(np.median(anomaly.scores)) + 1e-7

    page.locator("#anomaly-number").fill(f"{1000 * threshold:.6f}")

    flagged = anomaly.scores >= threshold
    sick = anomaly.labels == 1
    rows = page.locator("#anomaly-test tr").all_inner_texts()
    assert f"{int((flagged & ~sick).sum())} of {int((~sick).sum())}" in rows[0]
    assert f"{int((flagged & sick).sum())} of {int(sick.sum())}" in rows[1]
    held_out = int((anomaly.validation_scores >= threshold).sum())
    assert f"{held_out} of {len(anomaly.validation_scores)}" in page.locator("#anomaly-val tr").inner_text()


def test_all_figures_stand_in_tables(show, study_room, study_parts):
    _, stages, _ = study_parts
    auroc = stages["best-binary"].evaluations["test"].metrics["auroc"]
    page = show(f"{study_room}/study")

    row = page.locator("#tables details").first.get_by_role("row", name=re.compile("^AUROC"))

    assert f"{auroc.value:.3f}" in row.inner_text()
    assert f"[{auroc.low:.3f}, {auroc.high:.3f}]" in row.inner_text()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("net", ["best-binary", "best-three_class"])
def test_the_page_is_accessible_and_fits(show, study_room, viewport, color_scheme, net):
    page = show(f"{study_room}/study?net={net}", viewport=viewport, color_scheme=color_scheme)
    page.evaluate("document.querySelectorAll('details').forEach((element) => (element.open = true))")

    assert find_axe_faults(page) == []
    assert page.evaluate(TOO_WIDE) == []


def test_a_study_that_is_not_finished_says_so_on_the_page(show, open_room, study_copy):
    ledger = json.loads((study_copy / "study.json").read_text())
    for name in ("paper-three_class", "best-anomaly", "paper-anomaly"):
        del ledger["timing"][name]
    (study_copy / "study.json").write_text(json.dumps(ledger))
    with open_room(study_dir=study_copy) as room:
        page = show(f"{room}/study")

        assert "1.B Normal, bacterial or viral, paper's recipe" in page.locator("#messages").inner_text()
        assert page.get_by_label("paper's recipe (not finished)").is_disabled()
        assert "has not trained a model of normals" in page.locator("#anomaly-body").inner_text()
        assert find_axe_faults(page) == []


def test_films_that_have_gone_are_told_in_the_gallery(show, open_room, study_copy, tmp_path):
    ledger = json.loads((study_copy / "study.json").read_text())
    ledger["request"]["source"] = str(tmp_path / "gone")
    (study_copy / "study.json").write_text(json.dumps(ledger))
    with open_room(study_dir=study_copy) as room:
        page = show(f"{room}/study")

        wait_until(page, "document.querySelector('#failures-note').textContent.includes('which is gone')")
        wait_until(page, "document.querySelector('#gallery .absent')?.textContent === 'no picture'")
        assert find_axe_faults(page) == []


def test_a_folder_without_a_study_is_told_on_the_page(chromium, open_room, tmp_path):
    with open_room(study_dir=tmp_path) as room:
        page = chromium.new_page()
        page.goto(f"{room}/study")
        page.locator("#messages .banner").wait_for()

        assert page.locator("h1").inner_text() == "No study to show"
        assert "holds no study; expected what `pneumoscope study" in page.locator("#messages").inner_text()
        assert not page.locator("#study").is_visible()
        page.close()


def test_the_report_opens_with_its_look_and_without_its_scripts(chromium, study_room):
    page = chromium.new_page()
    page.goto(f"{study_room}/study")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report").click()
    report = opened.value
    report.wait_for_load_state()

    assert report.url == f"{study_room}/study/report"
    assert report.title() == "Report"
    assert report.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    assert report.evaluate("document.querySelector('img').naturalWidth") > 0
    report.close()
    page.close()
