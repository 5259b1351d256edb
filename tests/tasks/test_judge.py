"""What is chosen, and on which images, and that figures of each split are told apart."""

import numpy as np
import pytest

from pneumoscope.evaluation.metrics import evaluate
from pneumoscope.results import THREE_CLASSES
from pneumoscope.tasks.judge import HeldOut, judge_classifier


def answer(labels, skill, seed):
    raised = np.exp(np.random.default_rng(seed).normal(size=(len(labels), 3)) + skill * np.eye(3)[labels])
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def outputs(phantoms):
    return answer(phantoms.labels(THREE_CLASSES), 2.0, 0)


def test_without_series_held_out_all_is_chosen_on_validation(phantoms, outputs):
    card = judge_classifier(outputs, phantoms, 0, None)

    assert set(card["figures"]) == {"val", "test"}
    assert f"{len(phantoms.rows('val'))} validation images" in card["operating_points_from"]
    assert card["figures"]["test"]["three_class"]["accuracy"]["n"] == len(phantoms.rows("test"))


def test_series_held_out_have_figures_of_their_own(phantoms, outputs):
    labels = phantoms.labels(THREE_CLASSES)
    patients, names = (phantoms.table[column].to_numpy().astype(str) for column in ("patient", "name"))
    probabilities = answer(labels, 1.0, 1)
    told = evaluate(labels, probabilities, classes=THREE_CLASSES, split="held_out", patients=patients, names=names)
    card = judge_classifier(outputs, phantoms, 0, HeldOut(told, []))
    figures, points = card["figures"], card["operating_points"]

    assert set(figures) == {"val", "test", "held_out"}
    assert "images of series" in card["operating_points_from"]
    assert figures["held_out"]["three_class"]["accuracy"]["n"] == len(labels)
    found = figures["held_out"]["normal_or_pneumonia"]["flagged_pneumonia_balanced"]
    assert found["value"] == points["balanced"]["sensitivity"]["value"]
