"""The page of an evaluation: one file, plain sentences that the figures choose, and the same as JSON."""

import dataclasses
import json
import re

import numpy as np
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.evaluation.evaluate import trace_roc
from pneumoscope.evaluation.ood import measure_rejections
from pneumoscope.evaluation.subgroups import measure_scopes, measure_subgroups
from pneumoscope.io.results import CollectionEvaluation, Conformal, ErrorRun, EvaluatedImages
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.coverage import evaluate_sets
from pneumoscope.metrics.label_shift import estimate_label_shift
from pneumoscope.metrics.reliability import measure_reliability, measure_top_label_reliability
from pneumoscope.metrics.selective import measure_selective
from pneumoscope.report.evaluation_page import SECTIONS, write_evaluation
from pneumoscope.report.evaluation_sentences import write_conformal, write_limits, write_verdict

COMMAND = "pneumoscope evaluate --data 'my films'"
THRESHOLDS = {"screening": 0.4, "balanced": 0.5, "specific": 0.5}


def make_assessment(skill, *, count=150, subtypes_known=True):
    rng = np.random.default_rng(0)
    subtypes = np.concatenate([[0, 1, 2], rng.integers(0, 3, count - 3)])
    scores = np.exp(rng.normal(size=(count, 3)) + skill * np.eye(3)[subtypes])
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    sick, labels = 1 - probabilities[:, 0], (subtypes > 0).astype(int)
    decisions = np.where(sick >= 0.5, "pneumonia", "normal").astype("U9")
    decisions[:3], decisions[3:9] = "refused", "not sure"
    images = EvaluatedImages(
        names=np.array([f"<b>{number}</b>.png" for number in range(count)]),
        patients=np.array([f"p{number // 2}" for number in range(count)]),
        labels=labels,
        subtypes=subtypes if subtypes_known else np.where(subtypes > 0, -1, 0),
        probabilities=probabilities,
        decisions=decisions,
        reasons=np.where(decisions == "refused", "The film looks upside down.", ""),
        in_domain=np.ones(count, dtype=bool),
    )
    three_class = "three_class" if subtypes_known else "none"
    known = {
        "reliability": measure_top_label_reliability(subtypes, probabilities, images.patients),
        "selective": measure_selective(
            probabilities.argmax(axis=1) == subtypes, probabilities.max(axis=1), images.patients
        ),
    }
    sets = evaluate_sets(probabilities > 0.2, np.eye(3, dtype=bool)[subtypes], images.patients)
    return CollectionEvaluation(
        source="my films",
        split="test",
        model="a model (research use only)",
        operating_point="balanced",
        thresholds=THRESHOLDS,
        images=images,
        unreadable=[{"name": "broken.png", "reason": "the file is empty"}],
        left_out=[{"name": "other.png", "reason": "label 'other'"}],
        scopes=measure_scopes(images, THRESHOLDS, split="test"),
        roc=trace_roc(images),
        reliability={"pneumonia": measure_reliability(labels == 1, sick, images.patients)}
        | ({three_class: known["reliability"]} if subtypes_known else {}),
        conformal=Conformal(0.9, {"all": sets, "normal": sets}) if subtypes_known else None,
        selective={"pneumonia": measure_selective((sick >= 0.5) == labels, np.abs(sick - 0.5), images.patients)}
        | ({three_class: known["selective"]} if subtypes_known else {}),
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
def good(shortcuts, ood_check):
    return dataclasses.replace(make_assessment(3.0), confounders=shortcuts, ood_check=ood_check)


@pytest.fixture(scope="module")
def written(good, tmp_path_factory):
    return write_evaluation(good, tmp_path_factory.mktemp("page") / "new", command=COMMAND)


def test_the_page_needs_no_network_and_says_what_it_is_not(written):
    page = written.read_text(encoding="utf-8")

    assert RESEARCH_USE_ONLY in page
    assert page.index("pneumoscope evaluate --data &#39;my films&#39;") < page.index("<main>")
    assert not re.findall(r'(?:src|srcset)="(?!data:)', page)
    assert "<script" not in page and "<link" not in page
    assert "<b>0</b>" not in page
    for section in SECTIONS:
        assert f'<section id="{section}"' in page and f'href="#{section}"' in page


def test_errors_that_stand_together_are_named(good, tmp_path):
    stretch = ErrorRun("normal", "test/a-7.png", "test/a-19.png", 12, 9, 0.002)
    texts = [
        write_evaluation(found, tmp_path / name).read_text(encoding="utf-8")
        for name, found in (("none", good), ("one", dataclasses.replace(good, error_runs=[stretch])))
    ]

    assert "stand together no more than chance has it" in texts[0] and "test/a-7.png" not in texts[0]
    assert "9 errors stand together, on 12 images" in texts[1] and "test/a-19.png" in texts[1]
    document = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert document["error_runs"] == [dataclasses.asdict(stretch)]


def test_every_picture_is_kept_and_told_in_words(written):
    page = written.read_text(encoding="utf-8")
    pictures = ["calibration", "conformal", "points", "selective", "shortcuts", "subgroups", "three-class"]

    assert sorted(path.stem for path in (written.parent / "figures").glob("*.svg")) == pictures
    alternatives = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternatives) == len(pictures)
    assert all(len(text) > 60 for text in alternatives)


def test_the_json_holds_every_figure_and_every_image(written, good):
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
    assert document["images"][0]["decision"] == "refused"


def test_every_part_of_the_page_has_a_name_of_its_own(written):
    page = written.read_text(encoding="utf-8")
    names = re.findall(r' id="([^"]+)"', page)

    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)
    assert "outer tenth hidden" in page and "&lt;clouds&gt;" in page
    assert page.index('id="subgroups"') < page.index('id="shortcuts"') < page.index('id="wrong-inputs"')


def test_points_of_one_threshold_and_wrong_answers_are_named(good, written):
    page = written.read_text(encoding="utf-8")
    sick = 1 - good.images.probabilities[:, 0]
    alarmed = int(((sick >= 0.5) & (good.images.labels == 0)).sum())

    assert "The points balanced and specific have the same threshold" in page
    assert alarmed and f"<summary>Normals called pneumonia: {alarmed}</summary>" in page


def test_labels_without_sub_types_are_said_to_lack_them(tmp_path):
    page = write_evaluation(make_assessment(4.0, count=60, subtypes_known=False), tmp_path).read_text(encoding="utf-8")

    assert "figures of three classes are left out" in page
    assert "holds no limit for sets of classes" in page
    assert "with the lungs hidden was not measured" in page and "wrong inputs was not measured" in page
    assert not (tmp_path / "figures" / "three-class.svg").exists()


@pytest.mark.parametrize(
    ("skill", "said"),
    [(-3.0, "worse than a coin"), (0.0, "cannot be told from chance")],
)
def test_bad_models_are_called_bad(skill, said):
    verdict = " ".join(write_verdict(make_assessment(skill)))

    assert said in verdict
    assert "Do not use them" in verdict
    assert "lets nearly all of it in" in verdict


def test_good_models_are_not(good):
    assert "Do not use" not in " ".join(write_verdict(good))
    assert "The promise holds" in write_conformal(good)


def test_what_lungs_have_no_part_in_is_said_first(good):
    assert "lungs of all films hidden, the AUROC is still 0.860" in " ".join(write_verdict(good))
    assert "hidden" not in " ".join(write_verdict(dataclasses.replace(good, confounders=None)))


def test_training_images_are_a_limit(good):
    assert "trained on" not in " ".join(write_limits(good))
    assert "trained on" in write_limits(dataclasses.replace(good, split="train"))[0]
