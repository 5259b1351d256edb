"""What is chosen on held-out images, and the metrics of the classifier with it."""

import numpy as np
import pandas as pd
import pytest

from pneumoscope.classification.calibration_report import report_calibration
from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import Evaluation
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import evaluate

PER_SPLIT = 120


def predict(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return probabilities of a fair classifier: right more often than not, and uncertain where it is wrong."""
    scores = 2 * np.eye(3)[labels] + np.random.default_rng(seed).normal(0, 1.2, (len(labels), 3))
    exponents = np.exp(scores)
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
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
    return evaluate(labels, predict(labels, 1), classes=THREE_CLASSES, split="held out", patients=names, names=names)


def test_without_series_validation_chooses(dataset):
    report = report_calibration(predict(dataset.labels(THREE_CLASSES), 2), dataset, 0)
    assert report.operating_points_from.startswith(f"{PER_SPLIT} validation images, {PER_SPLIT} patients")
    assert report.seeds is None and set(report.metrics) == {"val", "test"}


def test_thresholds_come_from_held_out_series(dataset, held_out):
    first, second = (
        report_calibration(predict(dataset.labels(THREE_CLASSES), seed), dataset, 0, held_out=held_out)
        for seed in (2, 3)
    )
    assert first.operating_points_from.startswith("600 images in held-out file-name series")
    assert first.operating_points == second.operating_points
    assert first.conformal == second.conformal
    assert first.metrics["test"] != second.metrics["test"]
    metrics = first.metrics["held_out"]
    assert metrics == second.metrics["held_out"] and metrics.three_class["accuracy"].n == 600
    sensitivity = metrics.normal_or_pneumonia["flagged_pneumonia_balanced"]
    assert sensitivity == first.operating_points["balanced"].sensitivity


def test_seeds_are_reported_with_their_spread(dataset, held_out):
    labels = dataset.labels(THREE_CLASSES)
    others = {1000: predict(labels, 4), 2000: predict(labels, 5)}
    report = report_calibration(predict(labels, 2), dataset, 0, held_out=held_out, other_seeds=others)

    assert report.seeds.seeds == (0, 1000, 2000)
    accuracy = report.seeds.test["three_class/accuracy"]
    assert accuracy.values[0] == report.metrics["test"].three_class["accuracy"].value
    assert accuracy.mean == pytest.approx(np.mean(accuracy.values))
    assert accuracy.sd == pytest.approx(np.std(accuracy.values, ddof=1))
