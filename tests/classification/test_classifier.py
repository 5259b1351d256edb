from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

keras = pytest.importorskip("keras")

from pneumoscope.classification.classifier import evaluate_classifier, predict_probabilities, train_classifier
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import CollectionError, ImageError, ModelError, PneumoscopeError, TrainingError
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.models.architectures.reference import build_autoencoder, build_binary
from pneumoscope.models.card import TrainingRecord
from pneumoscope.models.registry import build_architecture, list_architectures, register_architecture
from pneumoscope.models.saved_model import load_model, save_model
from pneumoscope.models.settings import TrainingSettings, configuration_settings
from pneumoscope.phantoms.phantom import phantom_dataset

SIZE = 48


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return split_dataset(phantom_dataset(num_train=60, num_test=30, size=SIZE, seed=3), seed=3, val_share=0.25)


def make_settings(configuration: str, epochs: int = 1) -> TrainingSettings:
    return replace(configuration_settings(configuration, epochs=epochs), size=SIZE)


@pytest.mark.parametrize("classes", [BINARY_CLASSES, THREE_CLASSES])
def test_a_loaded_bundle_gives_the_same_probabilities(
    tmp_path: Path, dataset: Dataset, classes: tuple[str, ...]
) -> None:
    bundle, trained = train_classifier(dataset, tmp_path, classes=classes, settings=make_settings("improved"))
    again = load_model(tmp_path)
    test = dataset.split("test")
    np.testing.assert_array_equal(
        predict_probabilities(again.model, test.images), trained.evaluations["test"].probabilities
    )
    probabilities = again.predict([Image.fromarray(image) for image in test.images])
    assert probabilities.dtype == np.float64 and again.classes == classes
    np.testing.assert_allclose(probabilities, trained.evaluations["test"].probabilities, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    enlarged = np.repeat(np.repeat(test.images[0], 2, axis=0), 2, axis=1)
    assert again.predict(enlarged).shape == (1, len(classes))
    with pytest.raises(ImageError, match="float32 array in"):
        again.predict(test.images[0] / np.float32(255))
    assert again.card == bundle.card and again.card.classes == classes
    assert again.card.notice.startswith("Research use only")
    assert set(trained.evaluations) == {"val", "test"}
    assert trained.evaluations["test"].names.tolist() == test.table["name"].tolist()
    assert trained.parameters == bundle.model.count_params()


def test_probabilities_sum_to_one(dataset: Dataset) -> None:
    probabilities = predict_probabilities(build_binary(size=SIZE), dataset.images[:5])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_missing_class_raises_an_error(tmp_path: Path, dataset: Dataset) -> None:
    pneumonias = dataset.select(dataset.labels(BINARY_CLASSES) == 1)
    with pytest.raises(TrainingError, match="train holds no image of class normal"):
        train_classifier(pneumonias, tmp_path, settings=make_settings("reference"))


def test_a_damaged_bundle_raises_an_error(tmp_path: Path, dataset: Dataset) -> None:
    train_classifier(dataset, tmp_path, settings=make_settings("reference"))
    with pytest.raises(ModelError, match="holds no trained model"):
        load_model(tmp_path / "nothing")
    weights = tmp_path / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="not the file its card describes"):
        load_model(tmp_path)
    card = tmp_path / "card.json"
    text = card.read_text()
    card.write_text(text.replace('"seed": 0', '"seed": "zero"'))
    with pytest.raises(ModelError, match=r"is damaged \(seed: Input should be a valid integer, not zero"):
        load_model(tmp_path)
    card.write_text(text.replace('"card_version": 2', '"card_version": 99'))
    with pytest.raises(ModelError, match="is version 99"):
        load_model(tmp_path)


def test_a_registered_architecture_is_restored_from_its_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "three_class" in list_architectures()
    monkeypatch.setattr("pneumoscope.models.registry._ARCHITECTURES", {})

    @register_architecture("tiny")
    def build_tiny(num_outputs: int, size: int, channels: int) -> keras.Model:
        inputs = keras.Input((size, size, channels))
        embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(inputs)
        return keras.Model(inputs, keras.layers.Dense(num_outputs, name="logits")(embedding), name="tiny")

    model = build_architecture("tiny", num_outputs=4, size=8, channels=3)
    record = TrainingRecord(
        classes=("a", "b", "c", "d"),
        settings=configuration_settings("reference"),
        precision="float32",
        seed=0,
        training_data_sha256="0",
    )
    save_model(model, tmp_path, record)
    again = load_model(tmp_path, precision="float32")
    np.testing.assert_array_equal(model.get_layer("logits").kernel, again.model.get_layer("logits").kernel)
    with pytest.raises(TrainingError, match="there is no architecture 'huge'; expected one of tiny"):
        build_architecture("huge", num_outputs=4)


def test_shuffled_labels_teach_nothing(tmp_path: Path, dataset: Dataset) -> None:
    rng = np.random.default_rng(0)
    train = (dataset.table["split"] != "test").to_numpy()
    labels = dataset.table["label"].to_numpy().astype(str)
    labels[train] = rng.permutation(labels[train])
    shuffled = Dataset(dataset.images, dataset.table.assign(label=labels), pd.DataFrame())
    _, trained = train_classifier(shuffled, tmp_path, settings=make_settings("improved", epochs=2))
    assert trained.evaluations["test"].metrics["auroc"].value < 0.85


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "tst"}, CollectionError, "no image of normal, pneumonia in the split 'tst'; the dataset has test,"),
        ({"classes": THREE_CLASSES}, ModelError, "the model has 2 outputs; expected 3: normal, bacterial, viral"),
        ({"classes": ("normal", "virus")}, PneumoscopeError, r"classes are \('normal', 'virus'\); expected"),
    ],
)
def test_a_wrong_evaluation_is_an_error(dataset: Dataset, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate_classifier(build_binary(size=SIZE), dataset, **options)


def test_images_of_another_size_are_an_error(dataset: Dataset) -> None:
    with pytest.raises(ImageError, match=r"shape \(30, 48, 48\); expected \(n, 32, 32\)"):
        evaluate_classifier(build_binary(size=32), dataset)
    assert predict_probabilities(build_binary(size=32), np.empty((0, 32, 32), np.uint8)).shape == (0, 2)


def test_an_autoencoder_has_no_probabilities(tmp_path: Path) -> None:
    model = build_autoencoder(size=32)
    record = TrainingRecord(
        classes=("normal",),
        settings=configuration_settings("improved"),
        precision="float32",
        seed=0,
        training_data_sha256="",
    )
    with pytest.raises(ModelError, match="is an anomaly detector; expected a classifier"):
        save_model(model, tmp_path, record).predict(np.zeros((32, 32), np.uint8))
