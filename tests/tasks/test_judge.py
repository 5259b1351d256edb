"""What is chosen on images held out, and how it carries over to the net that is judged."""

import numpy as np
import pandas as pd
import pytest

from pneumoscope.evaluation.metrics import evaluate
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import THREE_CLASSES, Evaluation
from pneumoscope.tasks.judge import judge_classifier

PER_SPLIT = 120


def tell(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return what a fair net says: right more often than not, and unsure where it is wrong."""
    scores = 2 * np.eye(3)[labels] + np.random.default_rng(seed).normal(0, 1.2, (len(labels), 3))
    exponents = np.exp(scores)
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def films() -> Dataset:
    count = 3 * PER_SPLIT
    table = pd.DataFrame({"name": [f"{number}.png" for number in range(count)], "split": "train"})
    table["split"] = np.repeat(["train", "val", "test"], PER_SPLIT)
    table["subtype"] = np.resize(np.array(THREE_CLASSES), count)
    table["label"] = np.where(table["subtype"] == "normal", "normal", "pneumonia")
    table["patient"], table["sha256"], table["path"] = table["name"], table["name"], ""
    return Dataset(np.zeros((count, 16, 16), np.uint8), table, pd.DataFrame(columns=["name", "reason"]))


@pytest.fixture(scope="module")
def held_out() -> Evaluation:
    labels = np.arange(600) % 3
    names = np.arange(600).astype(str)
    return evaluate(labels, tell(labels, 1), classes=THREE_CLASSES, split="held out", patients=names, names=names)


def test_without_series_validation_chooses(films):
    facts = judge_classifier(tell(films.labels(THREE_CLASSES), 2), films, 0)
    assert facts["operating_points_from"].startswith(f"{PER_SPLIT} validation images of {PER_SPLIT} patients")
    assert "seeds" not in facts and set(facts["figures"]) == {"val", "test"}


def test_thresholds_come_from_what_was_held_out(films, held_out):
    first, second = (
        judge_classifier(tell(films.labels(THREE_CLASSES), seed), films, 0, held_out=held_out) for seed in (2, 3)
    )
    assert first["operating_points_from"].startswith("600 images of series")
    assert first["operating_points"] == second["operating_points"]
    assert first["conformal"] == second["conformal"]
    assert first["figures"]["test"] != second["figures"]["test"]
    told = first["figures"]["held_out"]
    assert told == second["figures"]["held_out"] and told["three_class"]["accuracy"]["n"] == 600
    found, point = told["normal_or_pneumonia"], first["operating_points"]["balanced"]
    assert found["flagged_pneumonia_balanced"]["value"] == point["sensitivity"]["value"]


def test_seeds_are_told_with_their_spread(films, held_out):
    labels = films.labels(THREE_CLASSES)
    others = {1000: tell(labels, 4), 2000: tell(labels, 5)}
    facts = judge_classifier(tell(labels, 2), films, 0, held_out=held_out, other_seeds=others)

    assert facts["seeds"]["seeds"] == [0, 1000, 2000]
    accuracy = facts["seeds"]["test"]["three_class/accuracy"]
    assert accuracy["values"][0] == facts["figures"]["test"]["three_class"]["accuracy"]["value"]
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["sd"] == pytest.approx(np.std(accuracy["values"], ddof=1))
