"""Any classifier becomes a reader; what is missing is named, and nothing is left of a failed export."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from pneumoscope.data.population import Population
from pneumoscope.errors import ExportError, ModelError, PneumoscopeError
from pneumoscope.export.reader import export_reader
from pneumoscope.inference.onnx_model import open_onnx
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.table import list_columns
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import TrainingRecord
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.registry import build_architecture
from pneumoscope.models.saved_model import load_model, save_model
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.phantoms.phantom import draw_phantoms, phantom_dataset

SPLITS = {"train": 60, "val": 30, "test": 10}


@pytest.fixture(autouse=True)
def in_float32():
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)


def make_dataset(name, size):
    """Return phantoms in three splits."""
    dataset = phantom_dataset(num_train=90, num_test=10, size=size, seed=2, label_set=name)
    splits = np.repeat(list(SPLITS), list(SPLITS.values()))
    return type(dataset)(dataset.images, dataset.table.assign(split=splits), dataset.skipped, dataset.label_set)


def save_untrained(folder, label_set, size):
    activation = "sigmoid" if label_set.multi_label else "softmax"
    count = len(label_set.classes)
    model = build_architecture("tiny", num_outputs=count, size=size, activation=activation)
    record = TrainingRecord(
        label_set=label_set,
        settings=TrainingSettings(configuration="default", epochs=1, size=size),
        precision="float32",
        seed=0,
        training_data_sha256="0",
        embedding_layer="embedding",
    )
    return save_model(model, folder, record)


def test_five_classes_are_exported_and_read(tmp_path):
    dataset = make_dataset("five-class", 96)
    saved = save_untrained(tmp_path / "run", dataset.label_set, 96)
    reader = Reader.open(export_reader(tmp_path / "run", tmp_path / "reader", dataset=dataset))
    test = dataset.split("test")
    expected = predict_probabilities(saved.model, test.images, dataset.label_set)

    (outputs,) = reader.models.classifier.run({"image": test.images[..., None].astype(np.float32)}, ["probabilities"])
    readings = reader.predict_images(test.images, list(test.names))
    rows = [reading.to_row() for reading in readings]

    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert reader.scored == (*dataset.label_set.classes, "abnormal")
    assert {reading.decision for reading in readings} <= {*dataset.label_set.classes, "uncertain", "rejected"}
    assert all(tuple(row) == list_columns(reader.scored) for row in rows)
    assert (
        reader.missing == {"anomaly": "a study trains the detector, this is a single model"}
        and rows[0]["anomaly_score"] is None
    )
    assert set(reader.thresholds("screening")) == {"abnormal"}
    assert reader.models.references.names.tolist() == dataset.split("train").names.tolist()
    assert reader.compute_maps(test.images[0]).position.shape == (2,)
    assert reader.explain(test.images[0]).label == "abnormal"
    assert reader.models.cards.classifier.data.splits["test"]["images"] == SPLITS["test"]
    assert reader.models.cards.classifier.population == Population()  # nothing is known of phantoms


def test_what_the_data_do_not_allow_is_named(tmp_path, caplog):
    dataset = make_dataset("five-class", 32)
    labels = LabelSet(dataset.label_set.classes)
    table = dataset.table.assign(split=dataset.table["split"].replace("val", "test"))
    table.loc[:2, "label"] = "other"
    dataset = replace(dataset, label_set=labels, table=table)
    saved = save_untrained(tmp_path / "run", labels, 32)
    reader = Reader.open(export_reader(saved, tmp_path / "reader", dataset=dataset))
    (reading,) = reader.predict_images(dataset.images[:1], ["x"])

    assert "3 of 100 images are left out: their class is unknown" in caplog.messages
    assert reader.missing == {
        "calibration": f"there is no image of {', '.join(labels.classes)} to fit on",
        "ood_detector": "57 training and 0 validation images; it needs 48 and 1",
        "anomaly": "the labels have no negative class",
    }
    assert (reader.thresholds("balanced"), reading.in_distribution) == ({}, None)
    assert reading.decision == max(labels.classes, key=reading.probabilities.get)


def test_four_findings_are_exported_and_read(tmp_path):
    dataset = make_dataset("multi-label", 224)
    saved = save_untrained(tmp_path / "run", dataset.label_set, 224)
    reader = Reader.open(export_reader(saved, tmp_path / "reader", dataset=dataset))
    images = dataset.split("test").images[:4]

    readings = reader.predict_images(images, ["x"] * 4, operating_point="0.0001")
    probabilities = reader.compute_probabilities(images)

    accepted = [reading for reading in readings if reading.decision != "rejected"]
    assert accepted and {reading.decision for reading in accepted} == {"|".join(dataset.label_set.classes)}
    assert set(reader.thresholds("balanced")) == set(reader.scored) == set(dataset.label_set.classes)
    assert reader.coverage is None and ((probabilities > 0) & (probabilities < 1)).all()
    names = {name for case in accepted[0].neighbors for name in case.label.split("|")}
    assert names <= {*dataset.label_set.classes, "No Finding"}
    with pytest.raises(PneumoscopeError, match="not defined for multi-label"):
        reader.choose_sets(probabilities)


def test_a_file_of_another_tool_becomes_a_classifier_only(tmp_path):
    layers = [
        *(keras.Input((64, 64, 3)), keras.layers.Conv2D(4, 3, 2, activation="relu"), keras.layers.Conv2D(6, 3, 2)),
        *(keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1, activation="sigmoid")),
    ]
    keras.Sequential(layers).save(tmp_path / "own.keras")
    labels = LabelSet(("healthy", "Tuberculose pulmonar"), "healthy")
    saved = load_model(tmp_path / "own.keras", label_set=labels, preprocess="0-1")
    folder = export_reader(saved, tmp_path / "reader")
    reader, images = Reader.open(folder), draw_phantoms(4, size=64, seed=0).images
    expected = predict_probabilities(saved.model, images, labels)

    readings = reader.predict_images(images, ["x"] * 4)
    maps = reader.compute_maps(images[0])

    assert [path.name for path in folder.iterdir()] == ["classifier"]
    assert set(reader.missing) == {"calibration", "references", "ood_detector", "anomaly"}
    for reading, (_, positive) in zip(readings, expected, strict=True):
        assert reading.probabilities["Tuberculose pulmonar"] == pytest.approx(positive, abs=1e-5)
        assert (reading.in_distribution, reading.anomaly_score, reading.neighbors) == (None, None, ())
        assert reading.decision in ("uncertain", labels.classes[int(positive >= 0.5)])
    assert (maps.position, maps.anomaly_map, len(maps.heatmaps)) == (None, None, 2)
    onnx = open_onnx(folder / "classifier" / "model.onnx", labels)
    np.testing.assert_allclose(onnx.predict_images(images), expected, atol=1e-5)
    with pytest.raises(ModelError, match=r"expected \(n, 3\)"):
        open_onnx(folder / "classifier" / "model.onnx", LabelSet(("a", "b", "c"))).predict_images(images)
    with pytest.raises(ModelError, match=r"pneumoscope export .*own.keras --out"):
        Reader.open(tmp_path / "own.keras")
    with pytest.raises(ExportError, match="is not an export"):
        export_reader(saved, tmp_path)
