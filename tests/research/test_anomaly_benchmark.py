from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.anomaly.detector import FitContext, select_normals
from pneumoscope.anomaly.evaluation import choose_threshold, evaluate_detector, measure_reference_rules
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import label_positive
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import LabelError, TrainingError
from pneumoscope.labels import LabelSet
from pneumoscope.phantoms.phantom import phantom_dataset
from pneumoscope.research.anomaly_benchmark import benchmark_anomaly


class Darkness:
    """A detector that scores dark pixels as anomalous."""

    def __init__(self, mean: float) -> None:
        self.mean = mean

    def score(self, images: np.ndarray) -> np.ndarray:
        return self.anomaly_maps(images).mean(axis=(1, 2))

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        return (self.mean - images.astype(np.float32)) / 255


def fit_darkness(context: FitContext) -> Darkness:
    return Darkness(float(context.normals.train.images.mean()))


def fail(context: FitContext) -> Darkness:
    raise TrainingError("the autoencoder collapsed")


@pytest.fixture
def dataset() -> Dataset:
    return split_dataset(phantom_dataset(num_train=60, num_test=18, size=32, seed=2), seed=0)


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[FitContext]:
    """Replace all detectors by quick ones; return the contexts that they were fitted with, which grows."""
    contexts: list[FitContext] = []

    def fit(context: FitContext) -> Darkness:
        contexts.append(context)
        return fit_darkness(context)

    detectors = {"dark": fit, "dead": fail}
    monkeypatch.setattr("pneumoscope.research.anomaly_benchmark.DETECTORS", detectors)
    return contexts


def test_every_detector_gets_a_row(contexts: list[FitContext], dataset: Dataset, tmp_path: Path) -> None:
    table = benchmark_anomaly(dataset, tmp_path, seed=5)

    assert [context.seed for context in contexts] == [5]
    assert set(table.metrics) == {"dark", "dead"}
    assert table.metrics["dead"] == {} and "autoencoder collapsed" in table.remarks["dead"]
    names = {"auroc", "accuracy", "f1", "false_positive_rate", "sensitivity", "sensitivity_viral", "seconds_per_image"}
    assert names <= set(table.metrics["dark"])


def test_thresholds_depend_on_normals_alone(dataset: Dataset, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, dataset.images.shape, dtype=np.uint8)
    positive = label_positive(dataset) == 1
    changed = replace(dataset, images=np.where(positive[:, None, None], noise, dataset.images))
    first, second = (
        evaluate_detector(fit_darkness(FitContext(select_normals(data), tmp_path)), data) for data in (dataset, changed)
    )
    assert first.thresholds == second.thresholds
    assert not np.array_equal(first.scores, second.scores)


def test_normals_are_the_negative_class_or_have_no_finding(dataset: Dataset, tmp_path: Path) -> None:
    findings = LabelSet(("bacterial", "viral"), "normal", multi_label=True)
    multi_label = replace(dataset, label_set=findings)
    first, second = (evaluate_detector(fit_darkness(FitContext(select_normals(data), tmp_path)), data)
                     for data in (dataset, multi_label))  # fmt: skip
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.classes.tolist() == second.classes.tolist()
    with pytest.raises(LabelError, match="bacterial, viral have no negative class"):
        select_normals(replace(dataset, label_set=LabelSet(("bacterial", "viral"))))


def test_reference_rules_use_mean_and_standard_deviation_of_the_test_normals() -> None:
    normals, others = np.array([-3.0, -1.0, 1.0, 3.0]), np.array([-9.0, -2.0, 2.0, 9.0])  # mean 0, sd sqrt(5)
    labels, scores = np.repeat([0, 1], 4), 10 + np.concatenate([normals, others])
    patients = np.arange(8).astype(str)
    metrics = measure_reference_rules(labels, scores, patients=patients)
    flagged = {rule: (metrics[f"false_positive_rate_{rule}"].value, metrics[f"sensitivity_{rule}"].value)
               for rule in ("one_sided", "two_sided")}  # fmt: skip
    assert flagged == {"one_sided": (0.25, 0.25), "two_sided": (0.5, 0.5)}
    at_one_sd = np.array([0.0, 2.0, 0.0, 2.0])  # no score exceeds 1 standard deviation
    metrics = measure_reference_rules(np.repeat([0, 1], 2), at_one_sd, patients=patients[:4])
    assert metrics["sensitivity_two_sided"].value == metrics["false_positive_rate_two_sided"].value == 0
    assert measure_reference_rules(labels[4:], scores[4:], patients=patients[4:]) == {}


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_a_threshold_keeps_its_false_positive_rate_on_new_normals(rate: float) -> None:
    rng = np.random.default_rng(0)
    flagged = [(rng.normal(size=200) >= choose_threshold(rng.normal(size=60), rate)).mean() for _ in range(400)]
    assert rate - 0.025 < np.mean(flagged) <= rate + 0.005
