from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.classification.classifier import (
    draw_balanced,
    evaluate_classifier,
    hash_table,
    join_positives,
    train_classifier,
)
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, ImageError, ModelError, TrainingError
from pneumoscope.labels import LabelSet
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.registry import build_architecture
from pneumoscope.models.saved_model import load_model
from pneumoscope.models.settings import TrainingSettings, configuration_settings

SIZE = 32


def make_settings(configuration: str, epochs: int = 1, **changes: Any) -> TrainingSettings:
    settings = configuration_settings(configuration, epochs=epochs)
    return replace(settings, size=SIZE, batch_size=16, **changes)


def test_five_classes_are_learned(tmp_path: Path, five_classes: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    dataset, label_set = five_classes, five_classes.label_set
    other = np.arange(len(dataset)) % 20 == 7
    dataset.table.loc[other, "label"] = "other"
    caplog.set_level("INFO")

    bundle, trained = train_classifier(
        dataset, tmp_path, settings=make_settings("reference", 4, class_weights="balanced")
    )

    assert "train: 6 of 120 images left out, none of 5 classes" in caplog.text
    assert set(trained.evaluations) == {"val", "test"} and trained.classes == label_set.classes
    test = trained.evaluations["test"]
    assert test.metrics["accuracy"].value > 0.6
    assert "auroc_bacteria_vs_virus" in test.metrics
    again = load_model(tmp_path)
    assert again.card == bundle.card and again.card.label_set == label_set
    images = dataset.images[np.isin(dataset.names, test.names)]
    probabilities = predict_probabilities(again.model, images, label_set)
    np.testing.assert_allclose(probabilities, test.probabilities, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)

    joined = join_positives(trained).evaluations["test"]
    assert joined.classes == ("saud\u00e1vel", "abnormal")
    np.testing.assert_allclose(joined.probabilities[:, 1], 1 - test.probabilities[:, 0], atol=1e-6)
    assert (joined.labels == (test.labels > 0)).all()


def test_four_findings_are_learned_with_unknown_labels(tmp_path: Path, four_findings: Dataset) -> None:
    settings = make_settings("reference", 4, label_smoothing=0.02)
    bundle, trained = train_classifier(four_findings, tmp_path, settings=settings)
    test = trained.evaluations["test"]
    assert bundle.card.label_set == four_findings.label_set and bundle.card.architecture == "reference-multiclass"
    assert test.labels.shape == test.probabilities.shape and (test.labels == -1).any()
    assert test.metrics["auroc"].value > 0.8
    assert test.probabilities.sum(axis=1).std() > 0.1


@pytest.mark.parametrize("configuration", ["reference", "default"])
def test_two_classes_are_trained(tmp_path: Path, five_classes: Dataset, configuration: str) -> None:
    binary = five_classes.label_set.binary()
    settings = make_settings(configuration)
    bundle, trained = train_classifier(five_classes, tmp_path, label_set=binary, settings=settings)
    assert trained.classes == binary.classes
    assert bundle.card.architecture == ("efficientnet-lite0" if configuration == "default" else "reference-binary")
    np.testing.assert_allclose(trained.evaluations["val"].probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_missing_class_raises_an_error(tmp_path: Path, five_classes: Dataset, four_findings: Dataset) -> None:
    without = five_classes.select(five_classes.table["label"].to_numpy() != "covid 19")
    with pytest.raises(TrainingError, match="train has no images of class covid 19; expected images of every class"):
        train_classifier(without, tmp_path, settings=make_settings("reference"))
    four_findings.table["label"] = four_findings.table["label"].str.replace("mass", "edema")
    with pytest.raises(TrainingError, match="train has no images both with and without mass; expected"):
        train_classifier(four_findings, tmp_path, settings=make_settings("reference"))
    no_validation = four_findings.select(four_findings.table["split"].to_numpy() != "val")
    edema = LabelSet(("edema",), multi_label=True)
    with pytest.raises(TrainingError, match="val has no images both with and without edema; expected"):
        train_classifier(no_validation, tmp_path, label_set=edema, settings=make_settings("reference"))


def test_equal_outputs_and_a_class_without_test_images_are_reported(
    tmp_path: Path, five_classes: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = five_classes
    kept = dataset.select(~((dataset.table["label"] == "tb") & (dataset.table["split"] == "test")).to_numpy())
    blank = replace(kept, images=np.full_like(kept.images, 7))
    _, trained = train_classifier(blank, tmp_path, settings=make_settings("reference"))
    assert "test has no images of class tb: their metrics are not defined" in caplog.text
    assert "nearly the same output for all" in caplog.text and "from 7 to 7" in caplog.text
    assert np.isnan(trained.evaluations["test"].metrics["recall_tb"].value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "tst"}, CollectionError, "in the split 'tst'; the dataset has test, train, val"),
        ({"label_set": LabelSet(("tb", "virus"))}, ModelError, "the model has 5 outputs; expected 2"),
        ({"label_set": LabelSet(("a", "b"))}, CollectionError, "no image of a, b"),
    ],
)
def test_a_wrong_evaluation_is_an_error(
    five_classes: Dataset, options: Any, error: type[Exception], message: str
) -> None:
    model = build_architecture("reference-multiclass", num_outputs=5, size=SIZE)
    with pytest.raises(error, match=message):
        evaluate_classifier(model, five_classes, **{"label_set": five_classes.label_set, **options})


def test_images_of_another_size_are_an_error(five_classes: Dataset) -> None:
    model = build_architecture("reference-multiclass", num_outputs=5, size=48)
    with pytest.raises(ImageError, match=r"shape \(40, 32, 32\); expected \(n, 48, 48\)"):
        evaluate_classifier(model, five_classes, label_set=five_classes.label_set)


def test_the_hash_of_the_data_includes_the_labels(five_classes: Dataset) -> None:
    table = five_classes.table
    changed = [replace(five_classes, table=table.assign(**{name: "tb"})) for name in ("label", "uncertain", "split")]
    assert len({hash_table(dataset) for dataset in (five_classes, *changed)}) == 4
    assert hash_table(five_classes) == hash_table(five_classes.select(np.arange(len(table))[::-1]))


def test_balanced_epochs_repeat_rare_classes_evenly() -> None:
    labels = np.repeat([0, 1, 2], [4, 10, 50])
    rows = draw_balanced(labels, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [10, 10, 10]
    assert sorted(np.bincount(rows)[:4]) == [2, 2, 3, 3]
    assert np.bincount(rows)[4:].max() == 1
    assert len(draw_balanced(np.repeat([0, 1], [4, 50]), np.random.default_rng(0))) == 8
