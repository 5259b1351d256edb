"""The page of an evaluation, its sentences, and the same as JSON."""

import dataclasses
import json
import re

import numpy as np
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.evaluation.evaluate import trace_roc
from pneumoscope.evaluation.ood import measure_rejections
from pneumoscope.evaluation.subgroups import measure_scopes, measure_subgroups
from pneumoscope.io.results import CollectionEvaluation, Conformal, ErrorRun, Estimate, EvaluatedImages
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.conformal import evaluate_sets
from pneumoscope.metrics.label_shift import estimate_label_shift
from pneumoscope.metrics.reliability import measure_reliability, measure_top_label_reliability
from pneumoscope.metrics.selective import measure_selective
from pneumoscope.report.evaluation_page import SECTIONS, write_evaluation
from pneumoscope.report.evaluation_sentences import (
    write_conformal,
    write_confounders,
    write_limitations,
    write_verdict,
)
from pneumoscope.report.figures.confounders import draw_confounders

COMMAND = "pneumoscope evaluate --data 'my images'"
THRESHOLDS = {"screening": 0.4, "balanced": 0.5, "specific": 0.5}


def make_images(skill, count, *, subtypes_known):
    """Return images of three classes, and their true subtypes."""
    rng = np.random.default_rng(0)
    subtypes = np.concatenate([[0, 1, 2], rng.integers(0, 3, count - 3)])
    scores = np.exp(rng.normal(size=(count, 3)) + skill * np.eye(3)[subtypes])
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    positive, labels = 1 - probabilities[:, 0], (subtypes > 0).astype(int)
    decisions = np.where(positive >= 0.5, "pneumonia", "normal").astype("U9")
    decisions[:3], decisions[3:9] = "rejected", "uncertain"
    images = EvaluatedImages(
        names=np.array([f"<b>{number}</b>.png" for number in range(count)]),
        patients=np.array([f"p{number // 2}" for number in range(count)]),
        labels=labels,
        subtypes=subtypes if subtypes_known else np.where(subtypes > 0, -1, 0),
        probabilities=probabilities,
        decisions=decisions,
        reasons=np.where(decisions == "rejected", "The image looks upside down.", ""),
        in_distribution=np.ones(count, dtype=bool),
    )
    return images, subtypes, rng


def make_evaluation(skill, *, count=150, subtypes_known=True):
    images, subtypes, rng = make_images(skill, count, subtypes_known=subtypes_known)
    probabilities, labels = images.probabilities, images.labels
    positive = 1 - probabilities[:, 0]
    three_class = "three_class" if subtypes_known else "none"
    three = {
        "reliability": measure_top_label_reliability(subtypes, probabilities, images.patients),
        "selective": measure_selective(
            probabilities.argmax(axis=1) == subtypes, probabilities.max(axis=1), images.patients
        ),
    }
    sets = evaluate_sets(probabilities > 0.2, np.eye(3, dtype=bool)[subtypes], images.patients)
    return CollectionEvaluation(
        source="my images",
        split="test",
        model="a model (research use only)",
        operating_point="balanced",
        thresholds=THRESHOLDS,
        images=images,
        unreadable=[{"name": "broken.png", "reason": "the file is empty"}],
        left_out=[{"name": "other.png", "reason": "label 'other'"}],
        scopes=measure_scopes(images, THRESHOLDS, split="test"),
        roc=trace_roc(images),
        reliability={"pneumonia": measure_reliability(labels == 1, positive, images.patients)}
        | ({three_class: three["reliability"]} if subtypes_known else {}),
        conformal=Conformal(0.9, {"all": sets, "normal": sets}) if subtypes_known else None,
        selective={"pneumonia": measure_selective((positive >= 0.5) == labels, np.abs(positive - 0.5), images.patients)}
        | ({three_class: three["selective"]} if subtypes_known else {}),
        rejections=measure_rejections(images, 0.5),
        subgroups=measure_subgroups(images, rng.random(count), {}, 0.5),
        error_runs=[],
        confounders=None,
        ood_check=None,
        label_shift=estimate_label_shift(probabilities, images.patients, classes=THREE_CLASSES),
        true_shares={name: float((subtypes == number).mean()) for number, name in enumerate(THREE_CLASSES)}
        if subtypes_known
        else {},
        corrected=False,
    )


@pytest.fixture(scope="module")
def good(confounders, ood_check):
    return dataclasses.replace(make_evaluation(3.0), confounders=confounders, ood_check=ood_check)


@pytest.fixture(scope="module")
def written(good, tmp_path_factory):
    return write_evaluation(good, tmp_path_factory.mktemp("page") / "new", command=COMMAND)


def test_page_needs_no_network_and_holds_every_section(written):
    page = written.read_text(encoding="utf-8")

    assert RESEARCH_USE_ONLY in page
    assert page.index("pneumoscope evaluate --data &#39;my images&#39;") < page.index("<main>")
    assert not re.findall(r'(?:src|srcset)="(?!data:)', page)
    assert "<script" not in page and "<link" not in page and "<b>0</b>" not in page and "&#34;" not in page
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names)) and set(SECTIONS) <= set(names)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)


def test_confounders_and_ood_inputs_are_on_the_page(written):
    page = written.read_text(encoding="utf-8")
    for text in (
        *("lungs hidden", "0.860", "-0.040", "-9.0 points", "outer tenth only", "0.770", "12.5%", "37.0%"),
        *(
            "3.1%",
            "98.0%",
            "Invalid inputs of types not seen in training",
            "&lt;clouds&gt;, 66.0%",
            "The image looks tilted.",
        ),
    ):
        assert text in page, text
    assert "From elsewhere" not in page


def test_every_figure_is_saved_with_its_alternative_text(written):
    page = written.read_text(encoding="utf-8")
    figures = ["calibration", "conformal", "confounders", "performance", "selective", "subgroups", "three-class"]

    assert sorted(path.stem for path in (written.parent / "figures").glob("*.svg")) == figures
    alternatives = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternatives) == len(figures)
    assert all(len(text) > 60 for text in alternatives)


def test_contiguous_error_runs_are_listed(good, tmp_path):
    run = ErrorRun("normal", "test/a-7.png", "test/a-19.png", 12, 9, 0.002)
    without, with_run = (
        write_evaluation(evaluation, tmp_path / name).read_text(encoding="utf-8")
        for name, evaluation in (("none", good), ("one", dataclasses.replace(good, error_runs=[run])))
    )

    assert "no contiguous error runs beyond chance" in without and "test/a-7.png" not in without
    assert "9 errors on 12 images" in with_run and "test/a-19.png" in with_run
    document = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert document["error_runs"] == [dataclasses.asdict(run)]


def test_json_holds_every_metric_and_every_image(written, good):
    document = json.loads((written.parent / "evaluation.json").read_text())

    assert document["research_use_only"] == RESEARCH_USE_ONLY
    assert document["command"] == COMMAND
    auroc = document["scopes"]["all"]["ranking"]["auroc"]
    assert auroc["low"] <= auroc["value"] <= auroc["high"] and auroc["n"] == 150
    assert document["reliability"]["three_class"]["error"]["value"] == good.reliability["three_class"].error.value
    assert document["selective"]["pneumonia"]["at_shares"]["0.8"]["n"] == 120
    assert document["confounders"]["metrics"]["lungs_hidden"]["auroc"]["value"] == 0.86
    assert document["ood_check"]["kinds"][1]["kind"] == "noise"
    assert len(document["images"]) == 150
    assert document["images"][0]["decision"] == "rejected"


def test_equal_thresholds_and_false_positives_are_named(good, written):
    page = written.read_text(encoding="utf-8")
    probabilities = 1 - good.images.probabilities[:, 0]
    count = int(((probabilities >= 0.5) & (good.images.labels == 0)).sum())

    assert "The operating points balanced and specific have the same threshold" in page
    assert count and f"<summary>False positives: {count}</summary>" in page


def test_missing_measurements_are_named(tmp_path):
    page = write_evaluation(make_evaluation(4.0, count=60, subtypes_known=False), tmp_path).read_text(encoding="utf-8")

    for text in ("there are no three-class metrics", "no conformal limit", "Confounders were not measured"):
        assert text in page
    assert "Out-of-distribution inputs were not measured" in page
    assert not (tmp_path / "figures" / "three-class.svg").exists()


@pytest.mark.parametrize(("skill", "text"), [(-3.0, "below chance"), (0.0, "does not differ from chance")])
def test_verdict_on_bad_models(skill, text):
    verdict = " ".join(write_verdict(make_evaluation(skill)))

    assert text in verdict
    assert "Do not use" in verdict
    assert "accepts nearly all" in verdict


def test_verdict_on_good_models(good):
    verdict = " ".join(write_verdict(good))
    assert "Do not use" not in verdict
    assert "lungs of all images hidden, the AUROC is still 0.860" in verdict
    assert "hidden" not in " ".join(write_verdict(dataclasses.replace(good, confounders=None)))
    assert "in agreement with the nominal coverage" in write_conformal(good)


def test_training_images_are_a_limitation(good):
    assert "used to train" not in " ".join(write_limitations(good))
    assert "used to train" in write_limitations(dataclasses.replace(good, split="train"))[0]


def test_sentences_on_confounders(confounders):
    chance = {"auroc": Estimate(0.51, 0.49, 0.53, 80), "accuracy": Estimate(0.5, 0.48, 0.52, 80)}
    at_chance = dataclasses.replace(confounders, metrics={**confounders.metrics, "lung_area_hidden": chance})
    reversed_baseline = dataclasses.replace(
        confounders, pixel_baselines={"exposure": {"auroc": Estimate(0.3, 0.25, 0.35, 80)}}
    )
    text = " ".join(write_confounders(confounders))

    assert "90% of the AUROC above chance" in text and "outer tenth only, AUROC 0.770" in text
    assert "above chance" not in " ".join(write_confounders(at_chance))
    assert (
        "acquired differently" in " ".join(write_confounders(reversed_baseline)) and "acquired differently" not in text
    )
    assert "were not fitted" in " ".join(write_confounders(dataclasses.replace(confounders, pixel_baselines={})))


def test_figure_of_confounders_shows_every_value(confounders):
    auroc, accuracy = draw_confounders(confounders, title="test").axes

    assert [axes.get_title("left") for axes in (auroc, accuracy)] == ["AUROC", "Accuracy"]
    assert [text.get_text() for text in auroc.texts] == ["0.900", *["0.860"] * 5, "0.550", "0.770"]
