"""The page of an evaluation, its sentences, and the same as JSON."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.evaluation.evaluate import measure_images
from pneumoscope.evaluation.gather import Gathered
from pneumoscope.evaluation.ood import measure_rejections
from pneumoscope.evaluation.predictor import Predictor
from pneumoscope.io.results import Conformal, EvaluatedImages
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.conformal import evaluate_sets
from pneumoscope.metrics.label_shift import estimate_label_shift
from pneumoscope.report.evaluation_page import SECTIONS, write_evaluation
from pneumoscope.report.evaluation_sentences import (
    write_conformal,
    write_confounders,
    write_limitations,
    write_verdict,
)

COMMAND = "pneumoscope evaluate 'my images' --out page"
MANY = LabelSet(("healthy", *(f"finding number {number}" for number in range(19))), "healthy")
NO_NEGATIVE = LabelSet(("covid", "tuberculosis", "<i>edema</i>"))
FINDINGS = LabelSet(("Effusion", "Mass", "Nodule", "Edema"), "No Finding", multi_label=True)


def draw_labels(rng, label_set, skill, count):
    """Return labels and probabilities of a classifier, which is better the greater `skill` is."""
    k = len(label_set.classes)
    if label_set.multi_label:
        labels = rng.integers(0, 2, (count, k))
        probabilities = 1 / (1 + np.exp(-(rng.normal(size=(count, k)) + skill * (labels - 0.5))))
        return np.where(rng.random((count, k)) < 0.1, -1, labels), probabilities
    labels = np.concatenate([np.arange(k), rng.integers(0, k, count - k)])
    scores = np.exp(rng.normal(size=(count, k)) + skill * np.eye(k)[labels])
    return labels, scores / scores.sum(axis=1, keepdims=True)


def make_evaluation(skill, *, label_set=KERMANY_LABELS, count=150, classes_known=True, by_reader=True):
    """Return the evaluation of a made-up model, by default one with the parts that a reader has."""
    rng = np.random.default_rng(0)
    labels, probabilities = draw_labels(rng, label_set, skill, count)
    names = label_set.classes if label_set.multi_label else filter(None, [label_set.positive])
    thresholds = dict.fromkeys(names, 0.5)
    points = {"screening": dict.fromkeys(thresholds, 0.4), "balanced": thresholds, "specific": thresholds}
    decisions = label_set.decide(probabilities, thresholds).astype("U40")
    if by_reader:
        decisions[:3], decisions[3:9] = "rejected", "uncertain"
    positive = (labels > 0).astype(int) if label_set.positive else np.full(count, -1)
    images = EvaluatedImages(
        label_set=label_set,
        names=np.array([f"<b>{number}</b>.png" for number in range(count)]),
        patients=np.array([f"p{number // 2}" for number in range(count)]),
        labels=labels if classes_known else np.where(labels > 0, -1, 0),
        positive=positive,
        probabilities=probabilities,
        decisions=decisions,
        reasons=np.where(decisions == "rejected", "The image looks upside down.", ""),
        in_distribution=np.ones(count, dtype=bool),
    )
    table = pd.DataFrame({"name": images.names, "sex": np.tile(["F", "M"], count // 2)})
    unreadable = [{"name": "broken.png", "reason": "the file is empty"}]
    model = Predictor(
        id="a model", label_set=label_set, operating_point="balanced", thresholds=points if thresholds else {}
    )
    evaluation = measure_images(model, Gathered(table, images, rng.random(count), unreadable), "test")
    evaluation = dataclasses.replace(evaluation, source="my images", left_out=[{"name": "x", "reason": "label 'x'"}])
    if not by_reader:
        return evaluation
    sets = evaluate_sets(probabilities > 0.2, np.eye(len(label_set.classes), dtype=bool)[labels], images.patients)
    return dataclasses.replace(
        evaluation,
        notes={},
        rejections=measure_rejections(images, thresholds),
        conformal=Conformal(0.9, {"all": sets, "normal": sets}) if classes_known else None,
        label_shift=estimate_label_shift(probabilities, images.patients, classes=label_set.classes),
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
    assert page.index("pneumoscope evaluate &#39;my images&#39;") < page.index("<main>")
    assert not re.findall(r'(?:src|srcset)="(?!data:)', page)
    assert "<script" not in page and "<link" not in page and "<b>0</b>" not in page and "&#34;" not in page
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names)) and set(SECTIONS) - {"missing"} <= set(names)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)


def test_confounders_and_ood_inputs_are_on_the_page(written):
    page = written.read_text(encoding="utf-8")
    for text in (
        *("lungs hidden", "0.860", "-0.040", "-9.0 points", "outer tenth only", "0.770", "37.0%"),
        *("3.1%", "98.0%", "&lt;clouds&gt;", "The image looks tilted."),
    ):
        assert text in page, text


def test_every_figure_is_saved_with_its_alternative_text(written):
    page = written.read_text(encoding="utf-8")
    figures = ["calibration", "classes", "performance", "subgroups"]

    assert sorted(path.stem for path in (written.parent / "figures").glob("*.svg")) == figures
    alternatives = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternatives) == len(figures)
    assert all(len(text) > 60 for text in alternatives)


def test_json_holds_every_metric_and_every_image(written, good):
    document = json.loads((written.parent / "evaluation.json").read_text())

    assert document["research_use_only"] == RESEARCH_USE_ONLY
    assert document["command"] == COMMAND
    auroc = document["scopes"]["all"]["ranking"]["auroc"]
    assert auroc["low"] <= auroc["value"] <= auroc["high"] and auroc["n"] == 150
    assert document["reliability"]["classes"]["error"]["value"] == good.reliability["classes"].error.value
    assert document["label_set"]["groups"] == {"pneumonia": ["bacterial", "viral"]}
    assert document["selective"]["positive"]["at_shares"]["0.8"]["n"] == 120
    assert document["confounders"]["metrics"]["lungs_hidden"]["auroc"]["value"] == 0.86
    assert document["ood_check"]["kinds"][1]["kind"] == "noise"
    assert len(document["images"]) == 150
    assert document["images"][0]["decision"] == "rejected"


def test_false_positives_are_counted(good, written):
    count = int(((good.images.scores >= 0.5) & (good.images.positive == 0)).sum())

    assert count and f"<summary>False positives: {count}</summary>" in written.read_text(encoding="utf-8")


def test_missing_measurements_are_named(tmp_path):
    evaluation = make_evaluation(4.0, count=60, classes_known=False)
    page = write_evaluation(evaluation, tmp_path).read_text(encoding="utf-8")

    for text in ("The labels do not distinguish bacterial and viral", "no conformal limit", "Confounders were not"):
        assert text in page
    assert "Out-of-distribution inputs were not measured" in page and 'id="ood"' not in page
    assert not (tmp_path / "figures" / "classes.svg").exists()


@pytest.mark.parametrize(
    ("label_set", "texts"),
    [
        (MANY, ("Healthy or abnormal at the operating point", "finding number 18", "False positives")),
        (NO_NEGATIVE, ("Most probable of 3 classes", "&lt;i&gt;edema&lt;/i&gt;", "Misclassified images")),
        (FINDINGS, ("Mean over 4 findings", "whose label of a finding is unknown", "F1", "not for findings")),
    ],
)
def test_any_classes_and_any_model_have_a_page(label_set, texts, tmp_path):
    evaluation = make_evaluation(2.0, label_set=label_set, count=200, by_reader=False)
    page = write_evaluation(evaluation, tmp_path, command=COMMAND).read_text(encoding="utf-8")
    document = json.loads((tmp_path / "evaluation.json").read_text())

    for text in (*texts, "Conformal", "exported readers", "does not list its training images"):
        assert text in page, text
    assert ('id="performance"' in page) == (label_set.positive is not None)
    assert not re.search(
        r"\b(normal|pneumonia|bacterial|viral)\b", re.sub(r"<style>.*?</style>|data:[^\"]*", "", page, flags=re.S)
    )
    assert "<i>edema" not in page
    assert document["rejections"] is document["ood_check"] is document["seen_in_training"] is None
    assert set(document["notes"]) >= {"conformal", "rejections", "label-shift"}


def test_images_of_the_training_are_counted(good):
    seen = dataclasses.replace(good, seen_in_training=["a.png", "b.png"])

    assert "2 of 150 images, or copies of them, were in the training data" in " ".join(write_verdict(seen))
    assert "unknown whether" not in " ".join(write_limitations(seen))


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
    assert "in agreement with the nominal coverage" in " ".join(write_conformal(good))


def test_training_images_are_a_limitation(good):
    assert "used to train" not in " ".join(write_limitations(good))
    assert "used to train" in write_limitations(dataclasses.replace(good, split="train"))[0]


def test_the_best_regression_without_the_lungs_is_named(confounders):
    assert "outer tenth only, AUROC 0.770" in " ".join(write_confounders(confounders))
    assert "egression" not in " ".join(write_confounders(dataclasses.replace(confounders, pixel_baselines={})))
