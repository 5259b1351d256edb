"""The page of an evaluation, its sentences, and the same as JSON."""

import dataclasses
import json
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.evaluation.evaluate import measure_images
from pneumoscope.evaluation.gather import Gathered
from pneumoscope.evaluation.ood import measure_rejections
from pneumoscope.evaluation.predictor import Predictor
from pneumoscope.io.results import Conformal, Confounders, Estimate, EvaluatedImages, OODCheck, OODKind
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.conformal import evaluate_sets
from pneumoscope.metrics.label_shift import estimate_label_shift
from pneumoscope.report.evaluation_page import SECTIONS, write_evaluation
from pneumoscope.report.evaluation_sentences import write_confounders, write_limitations, write_verdict

COMMAND = "pneumoscope evaluate 'my images' --out page"
MANY = LabelSet(("healthy", *(f"finding number {number}" for number in range(19))), "healthy")
NO_NEGATIVE = LabelSet(("covid", "tuberculosis", "<i>edema</i>"))
FINDINGS = LabelSet(("Effusion", "Mass", "Nodule", "Edema"), "No Finding", multi_label=True)


@pytest.fixture(scope="module")
def make(draw):
    return partial(make_evaluation, draw)


def make_evaluation(draw, skill, *, label_set=KERMANY_LABELS, count=150, classes_known=True, by_reader=True):
    """Return the evaluation of a made-up model, by default one with the parts that a reader has."""
    rng = np.random.default_rng(0)
    labels, probabilities = draw(rng, label_set, count, skill)
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


def near(value):
    return Estimate(value, value - 0.02, value + 0.02, 80)


def make_metrics(auroc, accuracy):
    return {"auroc": near(auroc), "accuracy": near(accuracy)}


@pytest.fixture(scope="module")
def good(make):
    changed = ("borders_hidden", "markers_hidden", "lungs_only", "lungs_hidden", "lung_area_hidden")
    confounders = Confounders(
        split="test",
        threshold=0.6,
        metrics={"untouched": make_metrics(0.9, 0.8)} | dict.fromkeys(changed, make_metrics(0.86, 0.71)),
        differences=dict.fromkeys(changed, make_metrics(-0.04, -0.09)),
        hidden=dict.fromkeys(changed, near(0.37)),
        pixel_baselines={"exposure": make_metrics(0.55, 0.52), "borders": make_metrics(0.77, 0.7)},
    )
    kinds = (
        OODKind("images of the collection", "usual", near(0.031), near(0.0), ""),
        OODKind("noise", "learned", near(1.0), near(0.98), "The image is noisy.", near(0.997), near(0.01)),
        OODKind("<clouds>", "unseen", near(0.66), near(0.44), "The image looks tilted."),
    )
    return dataclasses.replace(make(3.0), confounders=confounders, ood_check=OODCheck("val", kinds))


@pytest.fixture(scope="module")
def written(good, tmp_path_factory):
    return write_evaluation(good, tmp_path_factory.mktemp("page") / "new", command=COMMAND)


def test_page_holds_every_section(written, read_page):
    page = read_page(written)

    assert page.source.index("pneumoscope evaluate &#39;my images&#39;") < page.source.index("<main>")
    assert "script" not in page.tags and "<b>0</b>" not in page.source
    assert set(SECTIONS) - {"missing"} <= set(page.ids)
    for text in (
        *("lungs hidden", "0.860", "-0.040", "-9.0 points", "outer tenth only", "0.770", "37.0%"),
        *("3.1%", "98.0%", "<clouds>", "The image looks tilted.", "in agreement with the nominal coverage"),
    ):
        assert text in page.text, text


def test_every_figure_is_saved_with_its_alternative_text(written, read_page):
    figures = ["calibration", "classes", "performance", "subgroups"]

    assert sorted(path.stem for path in (written.parent / "figures").glob("*.svg")) == figures
    images = read_page(written).images
    assert len(images) == len(figures) and all(len(image["alt"]) > 60 for image in images)


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


def test_missing_measurements_are_named(make, tmp_path, read_page):
    page = read_page(write_evaluation(make(4.0, count=60, classes_known=False), tmp_path))

    for text in ("The labels do not distinguish bacterial and viral", "no conformal limit", "Confounders were not"):
        assert text in page.text
    assert "Out-of-distribution inputs were not measured" in page.text and "ood" not in page.ids
    assert not (tmp_path / "figures" / "classes.svg").exists()


@pytest.mark.parametrize(
    ("label_set", "texts"),
    [
        (MANY, ("Healthy or abnormal at the operating point", "finding number 18", "False positives")),
        (NO_NEGATIVE, ("Most probable of 3 classes", "<i>edema</i>", "Misclassified images")),
        (FINDINGS, ("Mean over 4 findings", "whose label of a finding is unknown", "F1", "not for findings")),
    ],
)
def test_any_classes_and_any_model_have_a_page(make, label_set, texts, tmp_path, read_page):
    evaluation = make(2.0, label_set=label_set, count=200, by_reader=False)
    page = read_page(write_evaluation(evaluation, tmp_path, command=COMMAND))
    document = json.loads((tmp_path / "evaluation.json").read_text())

    for text in (*texts, "Conformal", "exported readers", "does not list its training images"):
        assert text in page.text, text
    assert ("performance" in page.ids) == (label_set.positive is not None)
    assert not re.search(r"\b(normal|pneumonia|bacterial|viral)\b", page.text)
    assert "<i>edema" not in page.source
    assert document["rejections"] is document["ood_check"] is document["seen_in_training"] is None
    assert set(document["notes"]) >= {"conformal", "rejections", "label-shift"}


@pytest.mark.parametrize(
    ("change", "verdict", "limitation"),
    [
        ({}, "lungs of all images hidden, the AUROC is still 0.860", "unknown whether"),
        ({"seen_in_training": ["a", "b"]}, "2 of 150 images, or copies of them, were in the training data", "reviewed"),
        ({"split": "train"}, "hidden", "used to train"),
    ],
)
def test_verdict_and_limitations_of_good_models(good, change, verdict, limitation):
    changed = dataclasses.replace(good, **change)
    verdicts, limitations = " ".join(write_verdict(changed)), " ".join(write_limitations(changed))

    assert verdict in verdicts and "Do not use" not in verdicts
    assert limitation in limitations
    assert ("used to train" in limitations) == (changed.split == "train")
    assert ("unknown whether" in limitations) == (changed.seen_in_training is None)
    assert "hidden" not in " ".join(write_verdict(dataclasses.replace(changed, confounders=None)))


@pytest.mark.parametrize(("skill", "text"), [(-3.0, "below chance"), (0.0, "does not differ from chance")])
def test_verdict_on_bad_models(make, skill, text):
    verdict = " ".join(write_verdict(make(skill)))

    assert text in verdict
    assert "Do not use" in verdict
    assert "accepts nearly all" in verdict


def test_the_best_regression_without_the_lungs_is_named(good):
    assert "outer tenth only, AUROC 0.770" in " ".join(write_confounders(good.confounders))
    without = dataclasses.replace(good.confounders, pixel_baselines={})
    assert "egression" not in " ".join(write_confounders(without))
