"""What is chosen on held-out images, and the metrics of the classifier with it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pneumoscope.classification.calibration_report import report_calibration
from pneumoscope.data.dataset import Dataset
from pneumoscope.io.results import Evaluation
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate

PER_SPLIT = 120
LABELS = LabelSet(("well", "flu", "cold"), "well", {"ill": ("flu", "cold")})
FINDINGS = LabelSet(("edema", "mass", "hernia"), multi_label=True)


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
    table["label"], table["uncertain"] = np.resize(np.array(LABELS.classes), count), ""
    table["patient"], table["sha256"], table["path"] = table["name"], table["name"], ""
    return Dataset(np.zeros((count, 16, 16), np.uint8), table, pd.DataFrame(columns=["name", "reason"]), LABELS)


@pytest.fixture(scope="module")
def held_out() -> Evaluation:
    labels = np.arange(600) % 3
    names = np.arange(600).astype(str)
    return evaluate(labels, predict(labels, 1), label_set=LABELS, split="held out", patients=names, names=names)


def test_without_series_validation_chooses(dataset):
    report = report_calibration(predict(dataset.labels(), 2), dataset, 0)
    assert report.operating_points_from.startswith(f"{PER_SPLIT} validation images, {PER_SPLIT} patients")
    assert report.seeds is None and set(report.metrics) == {"val", "test"}


def test_outputs_that_do_not_separate_the_classes_are_noticed(dataset, caplog):
    report_calibration(predict((dataset.labels() + 1) % 3, 2), dataset, 0)
    assert f"do not separate the classes of the {PER_SPLIT} images" in caplog.text


def test_thresholds_come_from_held_out_series(dataset, held_out):
    first, second = (
        report_calibration(predict(dataset.labels(), seed), dataset, 0, held_out=held_out) for seed in (2, 3)
    )
    assert first.operating_points_from.startswith("600 images in held-out file-name series")
    assert first.operating_points == second.operating_points
    assert first.conformal == second.conformal
    assert first.metrics["test"] != second.metrics["test"]
    metrics = first.metrics["held_out"]
    assert metrics == second.metrics["held_out"] and metrics.classes["accuracy"].n == 600
    sensitivity = metrics.positive["sensitivity_balanced"]
    assert sensitivity == first.operating_points["balanced"]["ill"].sensitivity


def test_seeds_are_reported_with_their_spread(dataset, held_out):
    labels = dataset.labels()
    others = {1000: predict(labels, 4), 2000: predict(labels, 5)}
    report = report_calibration(predict(labels, 2), dataset, 0, held_out=held_out, other_seeds=others)

    assert report.seeds.seeds == (0, 1000, 2000)
    names = ("positive/accuracy_balanced", "positive/auroc", "classes/accuracy", "classes/auroc_flu_vs_cold")
    assert tuple(report.seeds.test) == names
    accuracy = report.seeds.test["classes/accuracy"]
    assert accuracy.values[0] == report.metrics["test"].classes["accuracy"].value
    assert accuracy.mean == pytest.approx(np.mean(accuracy.values))
    assert accuracy.sd == pytest.approx(np.std(accuracy.values, ddof=1))


def test_findings_have_points_of_their_own(dataset):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (len(dataset), 3))
    labels[:, 2] = 0
    outputs = np.clip(0.4 * labels + 0.5 * rng.random(labels.shape), 0.01, 1)
    names = ["|".join(np.array(FINDINGS.classes)[row == 1]) for row in labels]
    findings = replace(dataset, table=dataset.table.assign(label=names), label_set=FINDINGS)

    report = report_calibration(outputs, findings, 0, other_seeds={1: outputs[::-1]})

    assert report.conformal is None and len(report.calibration.fitted) == 6
    assert report.calibration.fitted[2::3] == (1, 0) and report.calibration.method.endswith("not calibrated: hernia")
    assert set(report.operating_points) == {"screening", "balanced", "specific"}
    assert report.operating_points["balanced"]["edema"].sensitivity.value > 0.5
    assert report.operating_points["balanced"]["hernia"].threshold == 0.5
    assert "0.5 for hernia" in report.operating_points_from
    assert report.metrics["test"].classes["auroc_edema"].value > 0.7 and not report.metrics["test"].positive
    assert tuple(report.seeds.test) == ("classes/auroc", "classes/macro_f1")


def test_a_class_without_validation_images_leaves_probabilities_as_they_are(dataset):
    outputs = predict(dataset.labels(), 2)
    kept = (dataset.table["split"] == "train") | (dataset.table["split"] == "val") & (dataset.table["label"] != "well")
    report = report_calibration(outputs[kept], dataset.select(kept.to_numpy()), 0)
    assert report.calibration.method == "none, there is no image of well to fit on"
    assert set(report.calibration.resampled) == {report.calibration.fitted} == {(1, 0, 0, 0)}
    assert report.operating_points["balanced"]["ill"].threshold == 0.5
    assert set(report.metrics) == {"val"} and report.seeds is None
    unordered = replace(dataset, label_set=LabelSet(LABELS.classes))
    assert report_calibration(outputs, unordered, 0).operating_points == {}
